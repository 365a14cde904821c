// CUDA's words for a C++ compiler: what a kernel's text is compiled behind.
#pragma once
#include <cmath>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <utility>

struct Dim3 { unsigned int x, y, z; };

// What the driver tells a thread of itself.
struct Thread {
    Dim3 thread, block, threads, blocks;
    void (*barrier)();
    void* shared;
};

static Thread* self;

// Where the variables lie that a block's threads share, which the driver empties before each block.
extern "C" {
__attribute__((weak, visibility("hidden"))) extern char __start_shared[], __stop_shared[];
}

#define __global__
#define __device__
#define __shared__ static __attribute__((section("shared")))
#define __launch_bounds__(...)
#define asm(...)
#define __CUDA_ARCH__ 900
#define threadIdx (self->thread)
#define blockIdx (self->block)
#define blockDim (self->threads)
#define gridDim (self->blocks)
#define __syncthreads() (self->barrier())
#define __threadfence()
static const int warpSize = 32;

template <typename To, typename From> static To same_bits(From value) {
    To bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline float __int_as_float(int x) { return same_bits<float>(x); }
static inline int __float_as_int(float x) { return same_bits<int>(x); }
static inline double __longlong_as_double(long long x) { return same_bits<double>(x); }
static inline long long __double_as_longlong(double x) { return same_bits<long long>(x); }
static inline unsigned int __byte_perm(unsigned int, unsigned int, unsigned int) { return 0; }

template <typename A, typename B> static auto max(A a, B b) -> decltype(a + b) { return a < b ? b : a; }
template <typename A, typename B> static auto min(A a, B b) -> decltype(a + b) { return b < a ? b : a; }
template <typename T> static T rsqrt(T x) { return 1 / std::sqrt(x); }
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }

// One thread runs at a time.
template <typename T, typename U> static T atomicAdd(T* at, U by) { const T old = *at; *at = old + by; return old; }
template <typename T, typename U> static T atomicExch(T* at, U by) { const T old = *at; *at = by; return old; }
template <typename T, typename U, typename V> static T atomicCAS(T* at, U is, V by) {
    const T old = *at;
    if (old == (T)is) *at = by;
    return old;
}

template <typename... A, size_t... I>
static void call(void (*kernel)(A...), void** given, std::index_sequence<I...>) {
    kernel(*(A*)given[I]...);
}
template <typename... A> static void call(void (*kernel)(A...), void** given) {
    call(kernel, given, std::index_sequence_for<A...>());
}
