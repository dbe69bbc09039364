#include "tensors.hpp"

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

#include "memory.hpp"

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

// What is looked up once, and lives as long as the process
struct Library {
    const ExchangeApi* api;
    std::vector<PyObject*> types;
    std::vector<std::pair<PyObject*, PyObject*>> idle;
    PyObject *names, *level, *is_watched, *is_recording, *is_autocast;
    PyObject *is_negative, *requires_grad;
};
const Library* library = nullptr;

bool call_is_true(PyObject* function) {
    const nb::object answer = nb::steal(PyObject_CallNoArgs(function));
    if (!answer.is_valid()) throw nb::python_error();
    return answer.ptr() == Py_True;
}

// A new tensor is one piece of memory: its description, shape and strides, and then its elements.
constexpr std::size_t alignment = 64;

void release_made(ManagedTensor* tensor) { release(tensor); }

}  // namespace

void adopt_tensors(nb::capsule exchange, nb::tuple types, nb::tuple idle, nb::dict names,
                   nb::str level, nb::callable is_watched, nb::callable is_recording,
                   nb::callable is_autocast, nb::callable is_negative) {
    const auto* offered = static_cast<const ExchangeApi*>(exchange.data("dlpack_exchange_api"));
    if (offered->version.major != 1 || offered->from_object == nullptr) {
        throw nb::value_error("the exchange of tensors is not of DLPack's version 1");
    }
    const auto keep = [](nb::object object) { return object.release().ptr(); };
    auto* adopted = new Library{offered, {}, {}, keep(names), keep(level), keep(is_watched),
                                keep(is_recording), keep(is_autocast), keep(is_negative),
                                keep(nb::str("requires_grad"))};
    for (const nb::handle type : types) adopted->types.push_back(keep(nb::borrow(type)));
    for (const nb::handle pair : idle) {
        adopted->idle.emplace_back(keep(nb::object(pair[0])), keep(nb::object(pair[1])));
    }
    library = adopted;
}

bool is_tensor(nb::handle object) {
    if (library == nullptr) return false;
    const auto* type = reinterpret_cast<PyObject*>(Py_TYPE(object.ptr()));
    for (const PyObject* known : library->types) {
        if (type == known) return true;
    }
    return false;
}

bool is_watched() {
    PyObject* level = PyDict_GetItemWithError(library->names, library->level);
    if (level == nullptr || PyLong_AsLong(level) >= 0) return true;
    for (const auto& [function, expected] : library->idle) {
        const nb::object state = nb::steal(PyObject_CallNoArgs(function));
        if (!state.is_valid()) throw nb::python_error();
        if (state.ptr() != expected) return call_is_true(library->is_watched);
    }
    return false;
}

bool needs_gradient(nb::handle tensor) {
    const nb::object wanted = nb::steal(PyObject_GetAttr(tensor.ptr(), library->requires_grad));
    if (!wanted.is_valid()) throw nb::python_error();
    return wanted.ptr() == Py_True && call_is_true(library->is_recording);
}

bool is_autocast() { return call_is_true(library->is_autocast); }

bool try_read_tensor(Buffer& buffer, nb::handle object) {
    Tensor tensor;
    ElementType type;
    if (library == nullptr) return false;
    if (library->api->from_object(object.ptr(), &tensor) != 0) {
        PyErr_Clear();
        return false;
    }
    // What stands for zeros, or for a tensor that records, has no memory.
    if (tensor.device.type != cpu || tensor.data == nullptr || tensor.ndim > max_dimensions
        || !parse_type(tensor.dtype, type)) {
        return false;
    }
    // A tensor may be the negative of what its memory holds.
    if (!nb::handle(library->is_negative)(object).is(nb::handle(Py_False))) return false;
    static_assert(sizeof(Py_ssize_t) == sizeof(std::int64_t));
    buffer.borrow(static_cast<char*>(tensor.data) + tensor.byte_offset, type,
                  tensor.dtype.bits / 8, tensor.ndim, tensor.shape, tensor.strides);
    return true;
}

nb::object look_at(nb::handle upstream) {
    Buffer buffer;
    if (!is_tensor(upstream) || call_is_true(library->is_recording) || is_watched()
        || !try_read_tensor(buffer, upstream)) {
        return nb::none();
    }
    if (buffer.ndim() == 0 && buffer.type() == ElementType::float32) {
        return nb::float_(*static_cast<const float*>(buffer.data()));
    }
    if (buffer.ndim() == 0 && buffer.type() == ElementType::float64) {
        return nb::float_(*static_cast<const double*>(buffer.data()));
    }
    return nb::bool_(true);
}

NewTensor make_tensor(ElementType type, int ndim, const Py_ssize_t* shape, const int* order) {
    DataType dtype = {floating, 64, 1};
    if (type == ElementType::float32) dtype.bits = 32;
    if (is_half(type)) dtype.bits = 16;
    if (type == ElementType::bfloat16) dtype.code = brain_floating;
    const std::size_t sizes = static_cast<std::size_t>(ndim) * sizeof(std::int64_t);
    std::size_t bytes = dtype.bits / 8;
    for (int d = 0; d < ndim; ++d) bytes *= static_cast<std::size_t>(shape[d]);
    const std::size_t header = sizeof(ManagedTensor) + 2 * sizes;
    auto* memory = static_cast<char*>(allocate(header + bytes + alignment));
    char* data = memory + header;
    data += -reinterpret_cast<std::uintptr_t>(data) % alignment;
    auto* lengths = reinterpret_cast<std::int64_t*>(memory + sizeof(ManagedTensor));
    std::int64_t* strides = lengths + ndim;
    std::int64_t stride = 1;
    for (int d = ndim - 1; d >= 0; --d) {
        const int place = order == nullptr ? d : order[d];
        lengths[place] = shape[d];
        strides[place] = stride;
        stride *= shape[d];
    }
    auto* made = new (memory) ManagedTensor{
        {1, 0}, nullptr, release_made, 0, {data, {cpu, 0}, ndim, dtype, lengths, strides, 0}};
    void* object = nullptr;
    if (library->api->to_object(made, &object) != 0) throw nb::python_error();
    return {nb::steal(static_cast<PyObject*>(object)), data};
}

}  // namespace omniloss
