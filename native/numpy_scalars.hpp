// NumPy's scalars, made quickly.
#pragma once

#include <nanobind/nanobind.h>

namespace omniloss {

// What is needed of NumPy, looked up once. It lives as long as the process, as NumPy itself does.
struct NumPy {
    // Makes scalars of one type: taking an element out of an array is the quickest way to one. The
    // interpreter's lock keeps others from the element between writing and taking it.
    template <class T> struct Scalars {
        PyObject* array;
        T* element;

        Scalars(nanobind::handle numpy, const char* type) {
            array = numpy.attr("zeros")(1, numpy.attr(type)).release().ptr();
            Py_buffer view;
            if (PyObject_GetBuffer(array, &view, PyBUF_WRITABLE) != 0) throw nanobind::python_error();
            element = static_cast<T*>(view.buf);  // and the buffer is never released
        }
        nanobind::object make(double x) const {
            *element = static_cast<T>(x);
            return nanobind::steal(PySequence_GetItem(array, 0));
        }
    };

    PyObject* array_type;
    Scalars<float> float32;
    Scalars<double> float64;

    explicit NumPy(nanobind::handle numpy)
        : array_type(numpy.attr("ndarray").ptr()),
          float32(numpy, "float32"),
          float64(numpy, "float64") {
        Py_INCREF(array_type);
    }
};

inline const NumPy& numpy() {
    static const NumPy types(nanobind::module_::import_("numpy"));
    return types;
}

}  // namespace omniloss
