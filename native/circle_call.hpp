// The circle loss for Python.
#pragma once

#include <nanobind/nanobind.h>

namespace omniloss {

void bind_circle(nanobind::module_& module);

}  // namespace omniloss
