// Tensors through DLPack's exchange of C structs (DLPack 1.3): no Python object comes between, so that a
// small tensor is read and made in a fraction of a microsecond. Torch offers it.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>

#include "buffers.hpp"

namespace omniloss {

// The library whose tensors the functions below take: its capsule `dlpack_exchange_api`
void adopt_tensors(nanobind::capsule exchange);

// False, with no error set, where the tensor is not of numbers in this process's memory.
bool try_read_tensor(Buffer& buffer, nanobind::handle tensor);

// A new tensor of floats, and its memory
struct NewTensor {
    nanobind::object object;
    void* data;
};
NewTensor make_tensor(ElementType type, int ndim, const Py_ssize_t* shape);

}  // namespace omniloss
