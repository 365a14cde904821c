// Stands for cuBLAS, libcublas.so.12: the products that libgpuarray 0.7.6 asks for, by plain loops over columns.
#include <stdlib.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 15 };

namespace {

template <typename T>
int product(int left, int right, int m, int n, int k, const T* alpha, const T* a, int lda, const T* b, int ldb,
        const T* beta, T* c, int ldc) {
    for (int column = 0; column < n; ++column)
        for (int row = 0; row < m; ++row) {
            T sum = 0;
            for (int at = 0; at < k; ++at)
                sum += (left ? a[at + (long)row * lda] : a[row + (long)at * lda])
                    * (right ? b[column + (long)at * ldb] : b[at + (long)column * ldb]);
            T& into = c[row + (long)column * ldc];
            into = *alpha * sum + (*beta == 0 ? T(0) : *beta * into);
        }
    return SUCCESS;
}

template <typename T>
int times(int turned, int m, int n, const T* alpha, const T* a, int lda, const T* x, int step_x, const T* beta, T* y,
        int step_y) {
    for (int row = 0; row < (turned ? n : m); ++row) {
        T sum = 0;
        for (int at = 0; at < (turned ? m : n); ++at)
            sum += (turned ? a[at + (long)row * lda] : a[row + (long)at * lda]) * x[(long)at * step_x];
        T& into = y[(long)row * step_y];
        into = *alpha * sum + (*beta == 0 ? T(0) : *beta * into);
    }
    return SUCCESS;
}

}  // namespace

extern "C" {

int cublasCreate_v2(void** handle) { return *handle = malloc(4), *(int*)*handle = 0, SUCCESS; }
int cublasDestroy_v2(void* handle) { return free(handle), SUCCESS; }
int cublasSetStream_v2(void*, void*) { return SUCCESS; }
int cublasSetPointerMode_v2(void* handle, int mode) { return *(int*)handle = mode, SUCCESS; }
int cublasGetPointerMode_v2(void* handle, int* mode) { return *mode = *(int*)handle, SUCCESS; }
int cublasSetAtomicsMode(void*, int) { return SUCCESS; }

#define FOR(T, LETTER)                                                                                               \
    int cublas##LETTER##gemm_v2(void*, int left, int right, int m, int n, int k, const T* alpha, const T* a, int lda, \
            const T* b, int ldb, const T* beta, T* c, int ldc) {                                                     \
        return product(left, right, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);                                   \
    }                                                                                                                \
    int cublas##LETTER##gemv_v2(void*, int turned, int m, int n, const T* alpha, const T* a, int lda, const T* x,     \
            int step_x, const T* beta, T* y, int step_y) {                                                           \
        return times(turned, m, n, alpha, a, lda, x, step_x, beta, y, step_y);                                       \
    }                                                                                                                \
    int cublas##LETTER##ger_v2(void*, int m, int n, const T* alpha, const T* x, int step_x, const T* y, int step_y,   \
            T* a, int lda) {                                                                                         \
        for (int column = 0; column < n; ++column)                                                                   \
            for (int row = 0; row < m; ++row)                                                                        \
                a[row + (long)column * lda] += *alpha * x[(long)row * step_x] * y[(long)column * step_y];            \
        return SUCCESS;                                                                                              \
    }                                                                                                                \
    int cublas##LETTER##dot_v2(void*, int n, const T* x, int step_x, const T* y, int step_y, T* result) {            \
        *result = 0;                                                                                                 \
        for (int k = 0; k < n; ++k) *result += x[(long)k * step_x] * y[(long)k * step_y];                            \
        return SUCCESS;                                                                                              \
    }                                                                                                                \
    int cublas##LETTER##gemmBatched(void*, int left, int right, int m, int n, int k, const T* alpha,                 \
            const T* const* a, int lda, const T* const* b, int ldb, const T* beta, T* const* c, int ldc, int count) { \
        for (int each = 0; each < count; ++each)                                                                     \
            product(left, right, m, n, k, alpha, a[each], lda, b[each], ldb, beta, c[each], ldc);                    \
        return SUCCESS;                                                                                              \
    }                                                                                                                \
    int cublas##LETTER##gemmStridedBatched(void*, int left, int right, int m, int n, int k, const T* alpha,          \
            const T* a, int lda, long long step_a, const T* b, int ldb, long long step_b, const T* beta, T* c,       \
            int ldc, long long step_c, int count) {                                                                  \
        for (int each = 0; each < count; ++each)                                                                     \
            product(left, right, m, n, k, alpha, a + each * step_a, lda, b + each * step_b, ldb, beta,               \
                c + each * step_c, ldc);                                                                             \
        return SUCCESS;                                                                                              \
    }
FOR(float, S)
FOR(double, D)

// Half precision is not served here.
int cublasSgemmEx() { return NOT_SUPPORTED; }
int cublasGemmEx() { return NOT_SUPPORTED; }
int cublasHgemmStridedBatched() { return NOT_SUPPORTED; }

}  // extern "C"
