#include "tensors.hpp"

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace nb = nanobind;

namespace omniloss {
namespace {

// The structs of dlpack.h, version 1, as far as they are needed.
struct Device {
    std::int32_t type;
    std::int32_t id;
};
constexpr std::int32_t cpu = 1;

struct DataType {
    std::uint8_t code;
    std::uint8_t bits;
    std::uint16_t lanes;
};
enum Code : std::uint8_t {
    signed_integer = 0, unsigned_integer = 1, floating = 2, brain_floating = 4, boolean = 6
};

struct Tensor {
    void* data;
    Device device;
    std::int32_t ndim;
    DataType dtype;
    std::int64_t* shape;
    std::int64_t* strides;  // in elements
    std::uint64_t byte_offset;
};

struct ManagedTensor {
    struct {
        std::uint32_t major, minor;
    } version;
    void* context;
    void (*deleter)(ManagedTensor*);
    std::uint64_t flags;
    Tensor tensor;
};

using SetError = void (*)(void* context, const char* kind, const char* message);

struct ExchangeApi {
    struct {
        std::uint32_t major, minor;
    } version;
    void* previous;
    int (*allocate)(Tensor* prototype, ManagedTensor** out, void* context, SetError);
    int (*managed_from_object)(void* object, ManagedTensor** out);
    int (*to_object)(ManagedTensor* tensor, void** out);
    int (*from_object)(void* object, Tensor* out);
    int (*current_stream)(std::int32_t device_type, std::int32_t device_id, void** out);
};

const ExchangeApi* api = nullptr;

bool parse_type(DataType dtype, ElementType& type) {
    if (dtype.lanes != 1) return false;
    switch (dtype.code << 8 | dtype.bits) {
        case boolean << 8 | 8: type = ElementType::boolean; return true;
        case signed_integer << 8 | 8: type = ElementType::int8; return true;
        case signed_integer << 8 | 16: type = ElementType::int16; return true;
        case signed_integer << 8 | 32: type = ElementType::int32; return true;
        case signed_integer << 8 | 64: type = ElementType::int64; return true;
        case unsigned_integer << 8 | 8: type = ElementType::uint8; return true;
        case floating << 8 | 16: type = ElementType::float16; return true;
        case brain_floating << 8 | 16: type = ElementType::bfloat16; return true;
        case floating << 8 | 32: type = ElementType::float32; return true;
        case floating << 8 | 64: type = ElementType::float64; return true;
        default: return false;
    }
}

// Asks for large pages, as NumPy does for its own arrays: the first touch of new memory costs more
// than the arithmetic does otherwise. What the system makes of it changes nothing but the time.
void advise_large_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr std::size_t worth_while = std::size_t{1} << 22, page = 4096;
    const std::size_t offset = page - reinterpret_cast<std::uintptr_t>(data) % page;
    if (bytes >= worth_while) madvise(static_cast<char*>(data) + offset, bytes - offset, MADV_HUGEPAGE);
#endif
}

void raise(void*, const char*, const char* message) {
    PyErr_SetString(PyExc_MemoryError, message);
}

}  // namespace

void adopt_tensors(nb::capsule exchange) {
    const auto* offered = static_cast<const ExchangeApi*>(exchange.data("dlpack_exchange_api"));
    if (offered->version.major != 1 || offered->from_object == nullptr) {
        throw nb::value_error("the exchange of tensors is not of DLPack's version 1");
    }
    api = offered;
}

bool try_read_tensor(Buffer& buffer, nb::handle object) {
    Tensor tensor;
    ElementType type;
    if (api == nullptr) return false;
    if (api->from_object(object.ptr(), &tensor) != 0) {
        PyErr_Clear();
        return false;
    }
    if (tensor.device.type != cpu || tensor.ndim > max_dimensions
        || !parse_type(tensor.dtype, type)) {
        return false;
    }
    static_assert(sizeof(Py_ssize_t) == sizeof(std::int64_t));
    buffer.borrow(static_cast<char*>(tensor.data) + tensor.byte_offset, type,
                  tensor.dtype.bits / 8, tensor.ndim, tensor.shape, tensor.strides);
    return true;
}

NewTensor make_tensor(ElementType type, int ndim, const Py_ssize_t* shape) {
    std::int64_t sizes[max_dimensions];
    for (int d = 0; d < ndim; ++d) sizes[d] = shape[d];
    DataType dtype = {floating, 64, 1};
    if (type == ElementType::float32) dtype.bits = 32;
    if (is_half(type)) dtype.bits = 16;
    if (type == ElementType::bfloat16) dtype.code = brain_floating;
    Tensor prototype = {nullptr, {cpu, 0}, ndim, dtype, sizes, nullptr, 0};
    ManagedTensor* made = nullptr;
    if (api->allocate(&prototype, &made, nullptr, raise) != 0) throw nb::python_error();
    void* data = static_cast<char*>(made->tensor.data) + made->tensor.byte_offset;
    std::size_t bytes = dtype.bits / 8;
    for (int d = 0; d < ndim; ++d) bytes *= static_cast<std::size_t>(shape[d]);
    advise_large_pages(data, bytes);
    void* object = nullptr;
    if (api->to_object(made, &object) != 0) throw nb::python_error();
    return {nb::steal(static_cast<PyObject*>(object)), data};
}

}  // namespace omniloss
