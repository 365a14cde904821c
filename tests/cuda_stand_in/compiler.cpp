// Stands for NVRTC, libnvrtc.so.12: a C++ compiler makes a shared library of a kernel's text, which is the "PTX", behind
// the number of its bytes.
// Where STAND_IN_NVRTC names a real NVRTC, that one has to take the text first.
#include <dlfcn.h>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <stdlib.h>
#include <string>
#include <string.h>
#include <unistd.h>
#include <vector>

enum { SUCCESS = 0, INVALID_OPTION = 5, COMPILATION = 6 };

struct Program { std::string text, log, made; std::vector<std::string> headers, names; };

namespace {

std::string read(const std::string& name) {
    std::ifstream file(name, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

std::string folder() {
    Dl_info found;
    dladdr((void*)&folder, &found);
    const std::string path = found.dli_fname;
    return path.substr(0, path.rfind('/'));
}

// Shared memory whose size the launch says lies where the driver says; the header that is given stands before all.
std::string spoken(const std::string& text) {
    static const std::regex shared("extern\\s+__shared__\\s+(\\w+)\\s+(\\w+)\\s*\\[\\s*\\]");
    static const std::regex header("#include \"cluda.h\"");
    return std::regex_replace(std::regex_replace(text, shared, "$1* $2 = ($1*)self->shared"), header, "");
}

bool is_refused(Program* program, int count, const char* const* options) {
    const char* const name = getenv("STAND_IN_NVRTC");
    if (!name || !*name) return false;
    void* const real = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!real) return program->log = dlerror(), true;
    typedef int Create(void**, const char*, const char*, int, const char* const*, const char* const*);
    typedef int Compile(void*, int, const char* const*);
    typedef int Log(void*, char*);
    typedef int Size(void*, size_t*);
    std::vector<const char*> headers, names;
    for (const std::string& each : program->headers) headers.push_back(each.c_str());
    for (const std::string& each : program->names) names.push_back(each.c_str());
    void* handle = nullptr;
    const int made = ((Create*)dlsym(real, "nvrtcCreateProgram"))(
        &handle, program->text.c_str(), nullptr, headers.size(), headers.data(), names.data());
    if (made) return program->log = "nvrtcCreateProgram: " + std::to_string(made), true;
    if (!((Compile*)dlsym(real, "nvrtcCompileProgram"))(handle, count, options)) return false;
    size_t size = 0;
    ((Size*)dlsym(real, "nvrtcGetProgramLogSize"))(handle, &size);
    program->log.resize(size);
    ((Log*)dlsym(real, "nvrtcGetProgramLog"))(handle, &program->log[0]);
    return true;
}

}  // namespace

extern "C" {

int nvrtcVersion(int* major, int* minor) { return *major = 12, *minor = 4, SUCCESS; }
const char* nvrtcGetErrorString(int error) {
    return error == INVALID_OPTION ? "NVRTC_ERROR_INVALID_OPTION" : error ? "NVRTC_ERROR_COMPILATION" : "NVRTC_SUCCESS";
}

int nvrtcCreateProgram(Program** program, const char* text, const char*, int count, const char* const* headers,
        const char* const* names) {
    *program = new Program{text, "", "", {headers, headers + count}, {names, names + count}};
    return SUCCESS;
}
int nvrtcDestroyProgram(Program** program) { return delete *program, SUCCESS; }

int nvrtcCompileProgram(Program* program, int count, const char* const* options) {
    static const std::set<std::string> known = {"compute_50", "compute_60", "compute_70", "compute_75", "compute_80",
        "compute_86", "compute_89", "compute_90", "compute_100", "compute_120"};
    for (int k = 0; k + 1 < count; ++k)
        if (!strcmp(options[k], "-arch") && !known.count(options[k + 1])) {
            program->log = std::string("nvrtc: error: invalid value for --gpu-architecture (-arch): ") + options[k + 1];
            return INVALID_OPTION;
        }
    if (is_refused(program, count, options)) return COMPILATION;

    std::string whole = "#include \"words.h\"\n";
    for (const std::string& each : program->headers) whole += spoken(each);
    whole += "\n#line 1\n" + spoken(program->text) + "\n";
    static const std::regex kernel("(KERNEL|__global__)\\s+void\\s+(\\w+)\\s*\\(");
    std::set<std::string> kernels;
    for (std::sregex_iterator at(program->text.begin(), program->text.end(), kernel), end; at != end; ++at)
        kernels.insert((*at)[2]);
    for (const std::string& name : kernels)
        whole += "extern \"C\" void stand_in_runs_" + name + "(Thread* told, void** given) { self = told; call(" + name
            + ", given); }\n";
    const bool waits = program->text.find("local_barrier") != std::string::npos
        || program->text.find("__syncthreads") != std::string::npos;
    whole += std::string("extern \"C\" { int stand_in_waits = ") + (waits ? "1" : "0")
        + "; char* stand_in_shared[] = {__start_shared, __stop_shared}; }\n";

    const std::string own = folder() + "/kernel-" + std::to_string(getpid());
    std::ofstream(own + ".cpp") << whole;
    const char* const compiler = getenv("STAND_IN_COMPILER");
    const char* const asked = getenv("STAND_IN_OPTIONS");
    const std::string command = std::string(compiler ? compiler : "g++") + " " + (asked ? asked : "-fPIC -fpermissive -w")
        + " -shared -Wl,-Bsymbolic -I'" + folder() + "' '" + own + ".cpp' -o '" + own + ".so' 2> '" + own + ".log'";
    const int status = system(command.c_str());
    const std::string library = read(own + ".so");
    program->log = read(own + ".log");
    program->made = std::to_string(library.size()) + "\n" + library;
    for (const char* ending : {".cpp", ".log", ".so"}) unlink((own + ending).c_str());
    return status ? COMPILATION : SUCCESS;
}

int nvrtcGetPTXSize(Program* program, size_t* size) { return *size = program->made.size() + 1, SUCCESS; }
int nvrtcGetPTX(Program* program, char* text) {
    return memcpy(text, program->made.c_str(), program->made.size() + 1), SUCCESS;
}
int nvrtcGetProgramLogSize(Program* program, size_t* size) { return *size = program->log.size() + 1, SUCCESS; }
int nvrtcGetProgramLog(Program* program, char* text) { return strcpy(text, program->log.c_str()), SUCCESS; }

}  // extern "C"
