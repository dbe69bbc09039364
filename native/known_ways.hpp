// What Python remembers of calls: the ways that are known for their options.
#pragma once

#include <nanobind/nanobind.h>

namespace omniloss {

// What `known` holds under the key (first, *named.items()), where `change` may put something else in the place
// of a named value; an invalid object where it holds nothing, or something cannot be looked up: an array among
// the options, perhaps.
template <class Change>
nanobind::object find_ways(nanobind::dict known, nanobind::handle first, nanobind::dict named,
                           const Change& change) {
    PyObject *name, *value;
    nanobind::object key = nanobind::steal(PyTuple_New(1 + static_cast<Py_ssize_t>(nanobind::len(named))));
    PyTuple_SetItem(key.ptr(), 0, first.inc_ref().ptr());
    for (Py_ssize_t place = 0, at = 1; PyDict_Next(named.ptr(), &place, &name, &value); ++at) {
        PyTuple_SetItem(key.ptr(), at, PyTuple_Pack(2, name, change(name, value)));
    }
    nanobind::object ways = nanobind::borrow(PyDict_GetItemWithError(known.ptr(), key.ptr()));
    if (!ways.is_valid()) {
        if (PyErr_Occurred() != nullptr && !PyErr_ExceptionMatches(PyExc_TypeError)) {
            throw nanobind::python_error();
        }
        PyErr_Clear();
    }
    return ways;
}

}  // namespace omniloss
