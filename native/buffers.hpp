// Python arrays as operands, through the buffer protocol.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <string>

#include "kernels.hpp"
#include "operand.hpp"

namespace omniloss {

// A buffer held until the end of its scope (with the interpreter's lock held at both ends).
class Buffer {
  public:
    Buffer() = default;
    ~Buffer() { release(); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    // Raises the error of the argument called `name`.
    void read(nanobind::handle array, const char* name);
    // Numbers with at least one dimension; gives the type to compute in, which is `compute` or, where
    // that is empty, their own.
    ElementType read_predictions(nanobind::handle array, const std::string& compute);
    // For results: writable, C-contiguous, of the given type and shape
    void write(nanobind::handle array, const char* name, ElementType type, int ndim,
               const Py_ssize_t* shape);
    // For a gradient the same, which may be of half precision where the type is float32
    void write_gradient(nanobind::handle array, ElementType type, int ndim,
                        const Py_ssize_t* shape);
    // False, with no error set, where the array cannot be read.
    bool try_read(nanobind::handle array);
    // Memory of somebody else, who keeps it; strides are in elements.
    void borrow(void* data, ElementType type, Py_ssize_t itemsize, int ndim,
                const Py_ssize_t* shape, const Py_ssize_t* strides);
    void borrow_contiguous(void* data, ElementType type, Py_ssize_t itemsize, int ndim,
                           const Py_ssize_t* shape);
    // Another array, each of whose elements stands `times` times along a last dimension
    void borrow_repeated(const Buffer& other, Py_ssize_t times);
    // Another array, broadcast to a shape; false where it does not go with that
    bool borrow_broadcast(const Buffer& other, int ndim, const Py_ssize_t* shape);

    // Dimension d becomes what order[d] was, of at most `max_dimensions`.
    void permute(const int* order);

    int ndim() const { return view_.ndim; }
    const Py_ssize_t* shape() const { return view_.shape; }
    Py_ssize_t bytes() const { return view_.len; }
    Py_ssize_t size() const { return view_.itemsize > 0 ? view_.len / view_.itemsize : 0; }
    ElementType type() const { return type_; }
    void* data() const { return view_.buf; }
    bool is_contiguous() const;
    bool has_shape(int ndim, const Py_ssize_t* shape) const;
    // Raises the error of the argument called `name`.
    void require_shape(const char* name, int ndim, const Py_ssize_t* shape) const;
    Py_ssize_t stride(int dimension) const { return view_.strides[dimension]; }
    void fill(Operand& operand) const { fill(operand, view_.ndim); }
    // Only the first `ndim` dimensions, at index 0 of the others
    void fill(Operand& operand, int ndim) const;

  private:
    void release();
    void prepare_to_write(const char* name, bool right_type, int ndim, const Py_ssize_t* shape);

    Py_buffer view_ = {};
    Py_ssize_t sizes_[2][max_dimensions];  // shape and strides of what is borrowed
    ElementType type_ = ElementType::float32;
    bool held_ = false;
};

// The buffers of masks, in pairs (array, excluded number), which have a given shape each
class MaskBuffers {
  public:
    MaskBuffers(nanobind::handle masks, int ndim, const Py_ssize_t* shape, Masks& out);

  private:
    Buffer buffers_[Masks::most];
};

// "(2, 3)"
nanobind::str shape_text(int ndim, const Py_ssize_t* shape);

}  // namespace omniloss
