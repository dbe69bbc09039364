// Tensors through DLPack's exchange of C structs (DLPack 1.3): no Python object comes between, so that a
// small tensor is read and made in a fraction of a microsecond. Torch offers it.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>

#include "buffers.hpp"

namespace omniloss {

// The library whose tensors the functions below take: its capsule `dlpack_exchange_api`, the types that
// are its own, and what tells its state. `idle` are pairs of a function and what it returns, the very
// object, where nothing records, transforms or replaces operations; otherwise `is_watched` has the word.
// `level` names a number in `names`, which has the same meaning while it is below 0.
void adopt_tensors(nanobind::capsule exchange, nanobind::tuple types, nanobind::tuple idle,
                   nanobind::dict names, nanobind::str level, nanobind::callable is_watched,
                   nanobind::callable is_recording, nanobind::callable is_autocast,
                   nanobind::callable is_negative);

// Whether an object is a tensor of just the library's own types
bool is_tensor(nanobind::handle object);

// Whether anything records, transforms or replaces the library's operations in this thread now
bool is_watched();

// Whether a tensor's derivative is to be recorded
bool needs_gradient(nanobind::handle tensor);

// Whether half precision is to give float32
bool is_autocast();

// False, with no error set, where the tensor is not of numbers that stand as they are in this
// process's memory.
bool try_read_tensor(Buffer& buffer, nanobind::handle tensor);

// What comes from upstream in a backward pass: None where that is itself recorded or watched, or no
// plain tensor; the number in a scalar of float32 or float64; otherwise True
nanobind::object look_at(nanobind::handle upstream);

// A new tensor of floats, and its memory
struct NewTensor {
    nanobind::object object;
    void* data = nullptr;
};
// The dimensions as they follow each other in memory, d of which the tensor has as its order[d], if given
NewTensor make_tensor(ElementType type, int ndim, const Py_ssize_t* shape, const int* order = nullptr);

}  // namespace omniloss
