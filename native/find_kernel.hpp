// Kernels by name.
#pragma once

#include <cstddef>
#include <string>

namespace omniloss {

// The index of a kernel in its table, or a ValueError that names the kernel. A pointwise one is given another
// array or not.
int find_pointwise(const std::string& name, std::size_t parameters, bool other = false);
int find_rowwise(const std::string& name, std::size_t parameters);

}  // namespace omniloss
