"""One pool of threads for all C kernels of the process, as C++ text that a kernel includes.

A kernel's Op puts `PARALLEL` before its own support code and `LIBRARIES` among its libraries, as
`trainer.kernels.plans.Kernel` does, and has in C::

    trainer::ready()                    // once in each call, with Python's lock: 0, or -1 and an exception
    trainer::threads()                  // device.threads
    trainer::parallel_for(count, body)  // body(0) … body(count - 1), by so many threads; needs no lock
    trainer::worth(amount, least)       // whether so much work is worth sharing, if `least` is worth a waking

Each thread, the calling one among them, begins with a share of its own, the same one from call to call, so
that what it worked on is still in its cache; then it takes what others have left, so that a thread which
comes late costs nothing but its own help. What a piece computes must not depend on who computes it nor on the
number of threads; then the bits do not either. A call from within a piece, or while another thread uses the
pool, runs in the calling thread alone. Threads that wait for work look for it for about a hundred
microseconds and then sleep, so that they do not take the processor from the threads of the matrix library.
"""

from __future__ import annotations

LIBRARIES = ("pthread",)

PARALLEL = """
#ifndef TRAINER_PARALLEL
#define TRAINER_PARALLEL
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

namespace trainer {

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

struct Pool;

// A thread's share: the job in the upper half and its next piece in the lower, so that who takes a piece
// knows whose it is. Each has a line of the cache.
struct Share { uint64_t next; char apart[56]; };

struct Worker {
    Pool* pool;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_t thread;
    int left;         // the core that it keeps off, or -1
    uint32_t ticket;  // the job that it is asked to help with
    int asleep;
};

struct Pool {
    enum { MOST = 64, PATIENCE = 4000 };
    typedef void (*Task)(void* context, uint32_t piece);
    int busy, workers;
    Task task;
    void* context;
    uint32_t count, shares, finished, job;
    Worker worker[MOST];
    Share share[MOST + 1];
};

// The number of threads, and where the pool is.
struct Shared { int64_t threads, pool; };
static Shared* shared = NULL;

static uint32_t first_of(uint32_t count, uint32_t share, uint32_t shares) {
    return (uint32_t)((uint64_t)count * share / shares);
}

// What is left of a share, piece by piece.
static void work_off(Pool* pool, uint32_t job, uint32_t share) {
    uint64_t* const at = &pool->share[share].next;
    for (;;) {
        uint64_t next = __atomic_load_n(at, __ATOMIC_ACQUIRE);
        const uint32_t count = __atomic_load_n(&pool->count, __ATOMIC_ACQUIRE);
        const uint32_t shares = __atomic_load_n(&pool->shares, __ATOMIC_ACQUIRE);
        const Pool::Task task = __atomic_load_n(&pool->task, __ATOMIC_ACQUIRE);
        void* const context = __atomic_load_n(&pool->context, __ATOMIC_ACQUIRE);
        const uint32_t piece = (uint32_t)next;
        if ((uint32_t)(next >> 32) != job || piece >= first_of(count, share + 1, shares)) return;
        if (!__atomic_compare_exchange_n(at, &next, next + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue;
        task(context, piece);
        __atomic_fetch_add(&pool->finished, 1, __ATOMIC_RELEASE);
    }
}

static void work(Pool* pool, uint32_t job, uint32_t own) {
    const uint32_t shares = __atomic_load_n(&pool->shares, __ATOMIC_ACQUIRE);
    for (uint32_t k = 0; k < shares; ++k) work_off(pool, job, (own + k) % shares);
}

// A thread that is woken on the caller's core would wait for it, or take its time: it is kept off that core
// before it is woken.
static void keep_off(Worker* worker, int core) {
#if defined(__linux__)
    cpu_set_t others;
    if (core < 0 || worker->left == core || sched_getaffinity(getpid(), sizeof others, &others)) return;
    CPU_CLR(core, &others);
    if (CPU_COUNT(&others) && !pthread_setaffinity_np(worker->thread, sizeof others, &others))
        worker->left = core;
#endif
}

static void* serve(void* argument) {
    Worker* const worker = (Worker*)argument;
    uint32_t seen = 0;
    for (;;) {
        uint32_t ticket = seen;
        for (int k = 0; k < Pool::PATIENCE && ticket == seen; ++k) {
            relax();
            ticket = __atomic_load_n(&worker->ticket, __ATOMIC_ACQUIRE);
        }
        if (ticket == seen) {
            pthread_mutex_lock(&worker->mutex);
            __atomic_store_n(&worker->asleep, 1, __ATOMIC_SEQ_CST);
            while ((ticket = __atomic_load_n(&worker->ticket, __ATOMIC_SEQ_CST)) == seen)
                pthread_cond_wait(&worker->wake, &worker->mutex);
            __atomic_store_n(&worker->asleep, 0, __ATOMIC_SEQ_CST);
            pthread_mutex_unlock(&worker->mutex);
        }
        seen = ticket;
        work(worker->pool, ticket, (uint32_t)(worker - worker->pool->worker) + 1);
    }
    return NULL;
}

static void ask(Worker* worker, uint32_t job, int core) {
    __atomic_store_n(&worker->ticket, job, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&worker->asleep, __ATOMIC_SEQ_CST)) {
        keep_off(worker, core);
        pthread_mutex_lock(&worker->mutex);
        pthread_cond_signal(&worker->wake);
        pthread_mutex_unlock(&worker->mutex);
    }
}

static bool hire(Pool* pool) {
    Worker* const worker = &pool->worker[pool->workers];
    worker->pool = pool;
    worker->ticket = 0;
    worker->asleep = 0;
    pthread_mutex_init(&worker->mutex, NULL);
    pthread_cond_init(&worker->wake, NULL);
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, worker)) return false;
    pthread_detach(thread);
    worker->thread = thread;
    worker->left = -1;
    ++pool->workers;
    return true;
}

// A process that was forked has none of its parent's threads.
static void after_fork() {
    if (!shared || !shared->pool) return;
    Pool* const pool = (Pool*)shared->pool;
    pool->workers = pool->busy = 0;
}

static int ready() {
    if (shared) return 0;
    PyObject* const module = PyImport_ImportModule("trainer.runtime.threads");
    PyObject* const held = module ? PyObject_GetAttrString(module, "shared") : NULL;
    Py_XDECREF(module);
    if (!held) return -1;
    static Py_buffer view;  // kept, so that the memory stays where it is
    const int failed = PyObject_GetBuffer(held, &view, PyBUF_WRITABLE);
    Py_DECREF(held);
    if (failed) return -1;
    Shared* const found = (Shared*)view.buf;
    if (!found->pool) {
        Pool* const pool = (Pool*)calloc(1, sizeof(Pool));
        if (!pool) { PyErr_NoMemory(); return -1; }
        found->pool = (int64_t)pool;
        pthread_atfork(NULL, NULL, after_fork);
    }
    shared = found;
    return 0;
}

static int threads() { return (int)shared->threads; }

// Whether so much work is worth sharing out, where `least` is worth waking a thread. One that has not gone to
// sleep yet begins in a microsecond instead of fifty.
static bool worth(double amount, double least) {
    const Pool* const pool = (const Pool*)shared->pool;
    const bool awake = pool->workers && !__atomic_load_n(&pool->worker[0].asleep, __ATOMIC_RELAXED);
    return amount >= (awake ? least / 8 : least);
}

static void run(Pool::Task task, void* context, uint32_t count) {
    Pool* const pool = (Pool*)shared->pool;
    uint32_t helpers = shared->threads > Pool::MOST ? Pool::MOST : (uint32_t)shared->threads - 1;
    if (helpers + 1 > count) helpers = count - 1;
    if (count < 2 || !helpers || __atomic_exchange_n(&pool->busy, 1, __ATOMIC_ACQUIRE)) {
        for (uint32_t piece = 0; piece < count; ++piece) task(context, piece);
        return;
    }
    while (pool->workers < (int)helpers && hire(pool)) {}
#if defined(__linux__)
    const int core = sched_getcpu();
#else
    const int core = -1;
#endif
    const uint32_t job = ++pool->job ? pool->job : ++pool->job;
    // Whoever is still looking at the last job finds it closed before it finds the new one's numbers.
    for (uint32_t k = 0; k < pool->shares; ++k) __atomic_store_n(&pool->share[k].next, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&pool->task, task, __ATOMIC_RELEASE);
    __atomic_store_n(&pool->context, context, __ATOMIC_RELEASE);
    __atomic_store_n(&pool->count, count, __ATOMIC_RELEASE);
    __atomic_store_n(&pool->finished, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&pool->shares, helpers + 1, __ATOMIC_RELEASE);
    for (uint32_t k = 0; k <= helpers; ++k)
        __atomic_store_n(&pool->share[k].next, (uint64_t)job << 32 | first_of(count, k, helpers + 1),
                         __ATOMIC_RELEASE);
    for (int k = 0; k < (int)helpers && k < pool->workers; ++k) ask(&pool->worker[k], job, core);
    work(pool, job, 0);
    for (int k = 0; __atomic_load_n(&pool->finished, __ATOMIC_ACQUIRE) != count; ++k)
        if (k < 10000) relax(); else sched_yield();
    __atomic_store_n(&pool->busy, 0, __ATOMIC_RELEASE);
}

template <class Body>
static void call(void* body, uint32_t piece) { (*(const Body*)body)(piece); }

template <class Body>
static void parallel_for(uint32_t count, const Body& body) { run(call<Body>, (void*)&body, count); }

}  // namespace trainer
#endif
"""
