#include "buffers.hpp"

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

namespace nb = nanobind;

namespace omniloss {
namespace {

// The element type of a format of one letter
bool parse_letter(const char* format, Py_ssize_t itemsize, ElementType& type) {
    if (format[0] == '\0' || format[1] != '\0') return false;
    const bool is_signed = std::strchr("bhilqn", *format) != nullptr;
    if (is_signed || std::strchr("BHILQN", *format) != nullptr) {
        switch (itemsize) {
            case 1: type = is_signed ? ElementType::int8 : ElementType::uint8; return true;
            case 2: type = is_signed ? ElementType::int16 : ElementType::uint16; return true;
            case 4: type = is_signed ? ElementType::int32 : ElementType::uint32; return true;
            case 8: type = is_signed ? ElementType::int64 : ElementType::uint64; return true;
            default: return false;
        }
    }
    switch (*format) {
        case '?': type = ElementType::boolean; return itemsize == 1;
        case 'e': type = ElementType::float16; return itemsize == 2;
        case 'f': type = ElementType::float32; return itemsize == 4;
        case 'd': type = ElementType::float64; return itemsize == 8;
        default: return false;
    }
}

// The element type of a buffer's format, by the rules of Python's struct module. These know no
// bfloat16: it is told by a record of 16 bits, whose one field has that name. (NumPy writes the
// byte order where the array is not aligned.)
bool parse_type(const char* format, Py_ssize_t itemsize, ElementType& type) {
    if (format == nullptr) format = "B";
    if (std::strcmp(format, "T{H:bfloat16:}") == 0 || std::strcmp(format, "T{=H:bfloat16:}") == 0) {
        type = ElementType::bfloat16;
        return itemsize == 2;
    }
    constexpr bool little = std::endian::native == std::endian::little;
    const char order = *format;
    const bool other = order == (little ? '>' : '<') || (little && order == '!');
    if (std::strchr("@=<>!", order) != nullptr && order != '\0') ++format;
    if (!parse_letter(format, itemsize, type)) return false;
    if (other && itemsize > 1) type = swapped(type);
    return true;
}

}  // namespace

void Buffer::release() {
    if (held_) PyBuffer_Release(&view_);
    held_ = false;
}

bool Buffer::try_read(nb::handle array) {
    release();
    if (PyObject_GetBuffer(array.ptr(), &view_, PyBUF_RECORDS_RO) != 0) {
        PyErr_Clear();
        return false;
    }
    held_ = true;
    return view_.ndim <= max_dimensions && parse_type(view_.format, view_.itemsize, type_);
}

void Buffer::borrow(void* data, ElementType type, Py_ssize_t itemsize, int ndim,
                    const Py_ssize_t* shape, const Py_ssize_t* strides) {
    release();
    view_ = {};
    view_.buf = data;
    view_.itemsize = view_.len = itemsize;
    view_.ndim = ndim;
    view_.shape = sizes_[0];
    view_.strides = sizes_[1];
    for (int d = 0; d < ndim; ++d) {
        view_.shape[d] = shape[d];
        view_.strides[d] = strides[d] * itemsize;
        view_.len *= shape[d];
    }
    type_ = type;
}

void Buffer::borrow_contiguous(void* data, ElementType type, Py_ssize_t itemsize, int ndim,
                               const Py_ssize_t* shape) {
    Py_ssize_t strides[max_dimensions], stride = 1;
    for (int d = ndim - 1; d >= 0; --d) {
        strides[d] = stride;
        stride *= shape[d];
    }
    borrow(data, type, itemsize, ndim, shape, strides);
}

void Buffer::borrow_repeated(const Buffer& other, Py_ssize_t times) {
    borrow(other.data(), other.type(), other.view_.itemsize, 0, nullptr, nullptr);
    for (int d = 0; d < other.ndim(); ++d) {
        view_.shape[d] = other.shape()[d];
        view_.strides[d] = other.stride(d);
        view_.len *= view_.shape[d];
    }
    view_.ndim = other.ndim();
    if (times == 1) return;
    view_.shape[view_.ndim] = times;
    view_.strides[view_.ndim++] = 0;
    view_.len *= times;
}

void Buffer::permute(const int* order) {
    Py_ssize_t sizes[2][max_dimensions];
    for (int d = 0; d < view_.ndim; ++d) {
        sizes[0][d] = view_.shape[order[d]];
        sizes[1][d] = view_.strides[order[d]];
    }
    std::memcpy(sizes_, sizes, sizeof sizes);
    view_.shape = sizes_[0];
    view_.strides = sizes_[1];
}

bool Buffer::borrow_broadcast(const Buffer& other, int ndim, const Py_ssize_t* shape) {
    const int added = ndim - other.ndim();
    if (added < 0) return false;
    borrow(other.data(), other.type(), other.view_.itemsize, 0, nullptr, nullptr);
    for (int d = 0; d < ndim; ++d) {
        const Py_ssize_t length = d < added ? 1 : other.shape()[d - added];
        if (length != shape[d] && length != 1) return false;
        view_.shape[d] = shape[d];
        view_.strides[d] = length == 1 ? 0 : other.stride(d - added);
        view_.len *= shape[d];
    }
    view_.ndim = ndim;
    return true;
}

void Buffer::read(nb::handle array, const char* name) {
    if (!PyObject_CheckBuffer(array.ptr())) {
        throw nb::type_error((std::string(name) + " must be an array in memory").c_str());
    }
    release();
    if (PyObject_GetBuffer(array.ptr(), &view_, PyBUF_RECORDS_RO) != 0) throw nb::python_error();
    held_ = true;
    if (view_.ndim > max_dimensions) {
        throw nb::value_error((std::string(name) + " has too many dimensions").c_str());
    }
    if (!parse_type(view_.format, view_.itemsize, type_)) {
        const std::string format = view_.format != nullptr ? view_.format : "";
        throw nb::type_error((std::string(name) + " has elements of format '" + format
                              + "', but bool, integers, float16, bfloat16, float32 and float64 are"
                                " supported")
                                 .c_str());
    }
}

ElementType Buffer::read_predictions(nb::handle array, const std::string& compute) {
    read(array, "predictions");
    if (view_.ndim < 1) throw nb::value_error("predictions must have at least one dimension");
    if (compute == "float32") return ElementType::float32;
    if (compute == "float64") return ElementType::float64;
    if (!compute.empty()) throw nb::value_error("compute must be 'float32' or 'float64'");
    if (type_ != ElementType::float32 && type_ != ElementType::float64) {
        throw nb::type_error("predictions must be float32 or float64, unless compute says in what to compute");
    }
    return type_;
}

void Buffer::write(nb::handle array, const char* name, ElementType type, int ndim,
                   const Py_ssize_t* shape) {
    read(array, name);
    prepare_to_write(name, type_ == type, ndim, shape);
}

void Buffer::write_gradient(nb::handle array, ElementType type, int ndim,
                            const Py_ssize_t* shape) {
    read(array, "gradient");
    const bool half = type == ElementType::float32 && is_half(type_);
    prepare_to_write("gradient", type_ == type || half, ndim, shape);
}

void Buffer::prepare_to_write(const char* name, bool right_type, int ndim,
                              const Py_ssize_t* shape) {
    if (view_.readonly) throw nb::value_error((std::string(name) + " must be writable").c_str());
    if (!right_type) {
        throw nb::type_error(
            (std::string(name) + " must have the type in which is computed").c_str());
    }
    require_shape(name, ndim, shape);
    const auto address = reinterpret_cast<std::uintptr_t>(view_.buf);
    if (!is_contiguous() || address % static_cast<std::uintptr_t>(view_.itemsize) != 0) {
        throw nb::value_error((std::string(name) + " must be C-contiguous and aligned").c_str());
    }
}

bool Buffer::is_contiguous() const {
    Py_ssize_t expected = view_.itemsize;
    for (int d = view_.ndim - 1; d >= 0; --d) {
        if (view_.shape[d] > 1 && view_.strides[d] != expected) return view_.len == 0;
        expected *= view_.shape[d];
    }
    return true;
}

bool Buffer::has_shape(int ndim, const Py_ssize_t* shape) const {
    if (view_.ndim != ndim) return false;
    for (int d = 0; d < ndim; ++d) {
        if (view_.shape[d] != shape[d]) return false;
    }
    return true;
}

void Buffer::require_shape(const char* name, int ndim, const Py_ssize_t* shape) const {
    if (has_shape(ndim, shape)) return;
    throw nb::value_error((std::string(name) + " must have the shape "
                           + shape_text(ndim, shape).c_str() + ", but has "
                           + shape_text(view_.ndim, view_.shape).c_str())
                              .c_str());
}

void Buffer::fill(Operand& operand, int ndim) const {
    operand.data = static_cast<const char*>(view_.buf);
    operand.type = type_;
    operand.ndim = 0;
    for (int d = 0; d < ndim; ++d) {
        if (view_.shape[d] == 1) continue;
        const int last = operand.ndim - 1;
        if (last >= 0 && operand.strides[last] == view_.shape[d] * view_.strides[d]) {
            operand.shape[last] *= view_.shape[d];
            operand.strides[last] = view_.strides[d];
        } else {
            operand.shape[operand.ndim] = view_.shape[d];
            operand.strides[operand.ndim] = view_.strides[d];
            ++operand.ndim;
        }
    }
    if (operand.ndim == 0) {
        operand.ndim = 1;
        operand.shape[0] = 1;
        operand.strides[0] = view_.itemsize;
    }
}

MaskBuffers::MaskBuffers(nb::handle masks, int ndim, const Py_ssize_t* shape, Masks& out) {
    if (nb::len(masks) > static_cast<std::size_t>(Masks::most)) {
        throw nb::value_error("there are too many masks");
    }
    for (const nb::handle mask : masks) {
        double excluded = 0.0;
        if (!nb::isinstance<nb::tuple>(mask) || nb::len(mask) != 2
            || !nb::try_cast<double>(mask[1], excluded)) {
            throw nb::type_error("a mask must be a pair of an array and a number");
        }
        Buffer& buffer = buffers_[out.count];
        buffer.read(mask[0], "masks");
        buffer.require_shape("masks", ndim, shape);
        buffer.fill(out.views[out.count]);
        out.excluded[out.count] = excluded;
        ++out.count;
    }
}

nb::str shape_text(int ndim, const Py_ssize_t* shape) {
    std::string text = "(";
    for (int d = 0; d < ndim; ++d) {
        text += std::to_string(shape[d]);
        if (d + 1 < ndim) text += ", ";
    }
    text += ndim == 1 ? ",)" : ")";
    return nb::str(text.c_str());
}

}  // namespace omniloss
