// Stands for CUDA's driver, libcuda.so.1, as far as libgpuarray 0.7.6 asks it: "modules" are shared libraries, and
// their kernels run here, a block after another. Threads of a block go in turn from barrier to barrier, and each alone:
// what counts on a warp's threads running in step comes out wrong, as it may on any card since Volta. Some errors show
// in one order of the threads and blocks alone, so each kernel's first launch begins with the last, its next with the first.
#include <dlfcn.h>
#include <map>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#include "words.h"

typedef int Result;
typedef unsigned long long Pointer;
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200, NOT_FOUND = 500 };

namespace {

struct Context { int device; unsigned int flags; bool active; };
struct Kernel { void (*once)(Thread*, void**); bool waits; char *shared, *shared_end; size_t launches; };

const size_t STACK = 1 << 16, MOST_THREADS = 1024, PAGE = 4096;
const int NOTHING = 0xFF;  // what memory holds that nothing was written to: no number, as float32 and as float64
std::vector<int> devices;  // as CUDA_VISIBLE_DEVICES numbers them
Context contexts[16];
std::vector<Context*> current;
std::map<Pointer, size_t> sizes;
size_t taken = 0;
struct { size_t launches, to_device, bytes_to_device, to_host, bytes_to_host; } counted;

long number(const char* name, long otherwise) {
    const char* const text = getenv(name);
    return text && *text ? atol(text) : otherwise;
}

// A page that nobody may touch lies right behind what is allocated, whose end is its end to 4 bytes.
size_t filled(size_t size) { return (size + PAGE - 1) / PAGE * PAGE; }
size_t before(size_t size) { return filled(size) - (size + 3) / 4 * 4; }

bool is_allocated(Pointer pointer, size_t size) {
    auto at = sizes.upper_bound(pointer);
    if (at == sizes.begin()) return false;
    --at;
    return pointer - at->first <= at->second && size <= at->second - (pointer - at->first);
}

// Written where the test asks for it, once the process ends.
struct AtEnd {
    ~AtEnd() {
        const char* const name = getenv("STAND_IN_COUNTS");
        FILE* const file = name ? fopen(name, "w") : nullptr;
        if (!file) return;
        fprintf(file, "{\"launches\": %zu, \"to_device\": %zu, \"bytes_to_device\": %zu, \"to_host\": %zu, "
            "\"bytes_to_host\": %zu}\n", counted.launches, counted.to_device, counted.bytes_to_device,
            counted.to_host, counted.bytes_to_host);
        fclose(file);
    }
} at_end;

Thread state;
ucontext_t scheduler, fibres[MOST_THREADS];
bool is_over[MOST_THREADS];
size_t running;
Kernel* launched;
void** given;

// Which of `count` is the one after k others, in this launch's order.
size_t in_order(size_t k, size_t count) { return launched->launches % 2 ? count - 1 - k : k; }

void wait() { swapcontext(&fibres[running], &scheduler); }
void never() {}

void begin_fibre() {
    launched->once(&state, given);
    is_over[running] = true;
}

void place(size_t thread) {
    state.thread.x = thread % state.threads.x;
    state.thread.y = thread / state.threads.x % state.threads.y;
    state.thread.z = thread / state.threads.x / state.threads.y;
}

void run_in_turn(size_t threads) {
    static char* const stacks = (char*)malloc(STACK * MOST_THREADS);
    for (size_t k = 0; k < threads; ++k) {
        getcontext(&fibres[k]);
        fibres[k].uc_stack.ss_sp = stacks + k * STACK;
        fibres[k].uc_stack.ss_size = STACK;
        fibres[k].uc_link = &scheduler;
        is_over[k] = false;
        makecontext(&fibres[k], begin_fibre, 0);
    }
    for (bool goes_on = true; goes_on;) {
        goes_on = false;
        for (size_t k = 0; k < threads; ++k) {
            running = in_order(k, threads);
            if (is_over[running]) continue;
            place(running);
            swapcontext(&scheduler, &fibres[running]);
            goes_on = goes_on || !is_over[running];
        }
    }
}

void run_block(size_t threads) {
    if (launched->shared) memset(launched->shared, NOTHING, launched->shared_end - launched->shared);
    if (launched->waits) return run_in_turn(threads);
    for (size_t k = 0; k < threads; ++k) {
        place(in_order(k, threads));
        launched->once(&state, given);
    }
}

bool is_device(int device) { return device >= 0 && device < (int)devices.size(); }

}  // namespace

extern "C" {

Result cuInit(unsigned int) {
    if (!devices.empty()) return SUCCESS;
    const long there = number("STAND_IN_DEVICES", 2);
    const char* shown = getenv("CUDA_VISIBLE_DEVICES");
    if (!shown) for (int k = 0; k < there; ++k) devices.push_back(k);
    for (; shown && *shown; shown = *shown == ',' ? shown + 1 : shown) {
        char* end;
        const long k = strtol(shown, &end, 10);
        if (end == shown || k < 0 || k >= there) break;
        devices.push_back(k);
        shown = end;
    }
    return devices.empty() ? NO_DEVICE : SUCCESS;
}

// NVRTC 12.9 asks for one of NVIDIA's own.
Result cuGetExportTable(const void** table, const void*) { return *table = nullptr, NOT_FOUND; }

Result cuDriverGetVersion(int* version) { return *version = number("STAND_IN_DRIVER", 12040), SUCCESS; }
Result cuDeviceGetCount(int* count) { return *count = devices.size(), SUCCESS; }
Result cuDeviceGet(int* device, int k) { return is_device(k) ? (*device = k, SUCCESS) : INVALID_DEVICE; }

Result cuDeviceGetName(char* name, int length, int device) {
    if (!is_device(device)) return INVALID_DEVICE;
    return snprintf(name, length, "Stand-in %d", devices[device]), SUCCESS;
}

Result cuDeviceTotalMem_v2(size_t* size, int device) {
    if (!is_device(device)) return INVALID_DEVICE;
    return *size = number("STAND_IN_MEMORY", 1l << 31), SUCCESS;
}

Result cuDeviceGetPCIBusId(char* id, int length, int device) {
    if (!is_device(device)) return INVALID_DEVICE;
    return snprintf(id, length, "0000:%02x:00.0", devices[device]), SUCCESS;
}

Result cuDeviceGetAttribute(int* value, int attribute, int device) {
    if (!is_device(device)) return INVALID_DEVICE;
    const long capability = number("STAND_IN_CAPABILITY", 90);
    switch (attribute) {
        case 1: case 2: case 3: *value = 1024; break;         // threads of a block, along each axis
        case 4: *value = 64; break;
        case 5: *value = 2147483647; break;                   // blocks of a grid
        case 6: case 7: *value = 65535; break;
        case 8: *value = 49152; break;                        // shared memory
        case 10: *value = 32; break;                          // a warp
        case 16: *value = 4; break;                           // multiprocessors
        case 41: *value = 1; break;                           // unified addressing
        case 75: *value = capability / 10; break;
        case 76: *value = capability % 10; break;
        default: *value = 0;
    }
    return SUCCESS;
}

Result cuDevicePrimaryCtxGetState(int device, unsigned int* flags, int* active) {
    if (!is_device(device)) return INVALID_DEVICE;
    return *flags = contexts[device].flags, *active = contexts[device].active, SUCCESS;
}
Result cuDevicePrimaryCtxSetFlags(int device, unsigned int flags) { return contexts[device].flags = flags, SUCCESS; }
Result cuDevicePrimaryCtxRetain(Context** context, int device) {
    if (!is_device(device)) return INVALID_DEVICE;
    contexts[device].device = device;
    contexts[device].active = true;
    return *context = &contexts[device], SUCCESS;
}
Result cuDevicePrimaryCtxRelease(int device) { return contexts[device].active = false, SUCCESS; }
Result cuCtxPushCurrent_v2(Context* context) { return current.push_back(context), SUCCESS; }
Result cuCtxPopCurrent_v2(Context** context) {
    if (current.empty()) return 201;
    if (context) *context = current.back();
    return current.pop_back(), SUCCESS;
}
Result cuCtxGetDevice(int* device) {
    return current.empty() ? 201 : (*device = current.back()->device, SUCCESS);
}

Result cuGetErrorName(Result error, const char** name) {
    switch (error) {
        case SUCCESS: *name = "CUDA_SUCCESS"; break;
        case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
        case NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; break;
        case INVALID_DEVICE: *name = "CUDA_ERROR_INVALID_DEVICE"; break;
        default: *name = "CUDA_ERROR_INVALID_VALUE";
    }
    return SUCCESS;
}
Result cuGetErrorString(Result error, const char** text) {
    *text = error == OUT_OF_MEMORY ? "out of memory" : error == NO_DEVICE ? "no CUDA-capable device is detected"
        : error == INVALID_DEVICE ? "invalid device ordinal" : error ? "invalid argument" : "no error";
    return SUCCESS;
}

Result cuMemGetInfo_v2(size_t* free_bytes, size_t* all) {
    *all = number("STAND_IN_MEMORY", 1l << 31);
    return *free_bytes = *all - taken, SUCCESS;
}
Result cuMemAlloc_v2(Pointer* pointer, size_t size) {
    if (!size) return INVALID_VALUE;
    if (size > number("STAND_IN_MEMORY", 1l << 31) - taken) return OUT_OF_MEMORY;
    const size_t all = filled(size);
    char* const memory = (char*)mmap(nullptr, all + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return OUT_OF_MEMORY;
    mprotect(memory + all, PAGE, PROT_NONE);
    memset(memory, NOTHING, all);
    sizes[*pointer = (Pointer)memory + before(size)] = size;
    return taken += size, SUCCESS;
}
Result cuMemFree_v2(Pointer pointer) {
    if (!sizes.count(pointer)) return INVALID_VALUE;
    const size_t size = sizes[pointer];
    taken -= size;
    sizes.erase(pointer);
    return munmap((char*)pointer - before(size), filled(size) + PAGE), SUCCESS;
}
Result cuMemAllocHost_v2(void** pointer, size_t size) { return *pointer = malloc(size), SUCCESS; }
Result cuMemFreeHost(void* pointer) { return free(pointer), SUCCESS; }

Result cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t size, void*) {
    if (!is_allocated(to, size)) return INVALID_VALUE;
    ++counted.to_device, counted.bytes_to_device += size;
    return memcpy((void*)to, from, size), SUCCESS;
}
Result cuMemcpyHtoD_v2(Pointer to, const void* from, size_t size) { return cuMemcpyHtoDAsync_v2(to, from, size, 0); }
Result cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t size, void*) {
    if (!is_allocated(from, size)) return INVALID_VALUE;
    ++counted.to_host, counted.bytes_to_host += size;
    return memcpy(to, (void*)from, size), SUCCESS;
}
Result cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t size, void*) {
    if (!is_allocated(to, size) || !is_allocated(from, size)) return INVALID_VALUE;
    return memmove((void*)to, (void*)from, size), SUCCESS;
}
Result cuMemcpyPeerAsync(Pointer to, Context*, Pointer from, Context*, size_t size, void*) {
    if (!is_allocated(to, size) || !is_allocated(from, size)) return INVALID_VALUE;
    return memmove((void*)to, (void*)from, size), SUCCESS;
}
Result cuMemsetD8Async(Pointer to, unsigned char value, size_t size, void*) {
    if (!is_allocated(to, size)) return INVALID_VALUE;
    return memset((void*)to, value, size), SUCCESS;
}

Result cuStreamCreate(void** stream, unsigned int) { return *stream = malloc(1), SUCCESS; }
Result cuStreamDestroy_v2(void* stream) { return free(stream), SUCCESS; }
Result cuStreamSynchronize(void*) { return SUCCESS; }
Result cuStreamWaitEvent(void*, void*, unsigned int) { return SUCCESS; }
Result cuEventCreate(void** event, unsigned int) { return *event = malloc(1), SUCCESS; }
Result cuEventDestroy_v2(void* event) { return free(event), SUCCESS; }
Result cuEventRecord(void*, void*) { return SUCCESS; }
Result cuEventSynchronize(void*) { return SUCCESS; }
Result cuIpcGetMemHandle(void*, Pointer) { return INVALID_VALUE; }
Result cuIpcOpenMemHandle(Pointer*, void*, unsigned int) { return INVALID_VALUE; }
Result cuIpcCloseMemHandle(Pointer) { return INVALID_VALUE; }

Result cuLinkCreate(unsigned int, void*, void**, std::string** link) { return *link = new std::string, SUCCESS; }
Result cuLinkAddData(std::string* link, int, void* data, size_t size, const char*, unsigned int, void*, void**) {
    return link->assign((const char*)data, size), SUCCESS;
}
Result cuLinkComplete(std::string* link, void** image, size_t* size) {
    return *image = (void*)link->data(), *size = link->size(), SUCCESS;
}
Result cuLinkDestroy(std::string* link) { return delete link, SUCCESS; }

Result cuModuleLoadData(void** module, const void* image) {
    char* library;
    const size_t size = strtoul((const char*)image, &library, 10);
    // Each under a name of its own: what is loaded under a name is taken again.
    std::string name = std::string(getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp") + "/kernel-XXXXXX";
    const int file = mkstemp(&name[0]);
    if (file < 0) return INVALID_IMAGE;
    const bool is_whole = *library == '\n' && write(file, library + 1, size) == (ssize_t)size;
    *module = is_whole ? dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
    close(file);
    unlink(name.c_str());
    return *module ? SUCCESS : INVALID_IMAGE;
}
Result cuModuleLoadDataEx(void** module, const void* image, unsigned int, void*, void**) {
    return cuModuleLoadData(module, image);
}
Result cuModuleUnload(void* module) { return dlclose(module), SUCCESS; }
Result cuModuleGetFunction(Kernel** kernel, void* module, const char* name) {
    void* const found = dlsym(module, (std::string("stand_in_runs_") + name).c_str());
    if (!found) return NOT_FOUND;
    char** const shared = (char**)dlsym(module, "stand_in_shared");
    const bool waits = *(int*)dlsym(module, "stand_in_waits") != 0;
    *kernel = new Kernel{(void (*)(Thread*, void**))found, waits, shared[0], shared[1], 0};
    return SUCCESS;
}
Result cuFuncGetAttribute(int* value, int attribute, Kernel*) {
    return *value = attribute == 0 ? MOST_THREADS : 0, SUCCESS;
}

Result cuLaunchKernel(Kernel* kernel, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
        unsigned int by, unsigned int bz, unsigned int shared, void*, void** arguments, void**) {
    const size_t threads = (size_t)bx * by * bz;
    if (!threads || threads > MOST_THREADS || bz > 64 || !gx || !gy || !gz || gy > 65535 || gz > 65535
            || shared > 49152)
        return INVALID_VALUE;
    static char memory[49152];
    ++counted.launches;
    ++kernel->launches;
    launched = kernel;
    given = arguments;
    state = Thread{{0, 0, 0}, {0, 0, 0}, {bx, by, bz}, {gx, gy, gz}, kernel->waits ? wait : never, memory};
    const size_t blocks = (size_t)gx * gy * gz;
    for (size_t k = 0; k < blocks; ++k) {
        const size_t at = in_order(k, blocks);
        state.block = {(unsigned int)(at % gx), (unsigned int)(at / gx % gy), (unsigned int)(at / gx / gy)};
        memset(memory, NOTHING, shared);
        run_block(threads);
    }
    return SUCCESS;
}

}  // extern "C"
