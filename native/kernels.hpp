// What the Python module and the kernels of an instruction set agree on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "operand.hpp"

namespace omniloss {

// The result of a pass over the data. `offence` is the flat index of the first element out of its
// allowed range, or -1; when there is one, nothing else that was computed is to be used.
struct Outcome {
    double total = 0.0;
    std::ptrdiff_t offence = -1;
    bool in_targets = false;
};

// A closed interval of allowed numbers
struct Range {
    double low;
    double high;
};

// What is left out: wherever one of the views holds its excluded number. The class indices of a loss
// can serve for a mask, to leave out the rows of one label.
struct Masks {
    static constexpr int most = 2;
    int count = 0;
    Operand views[most];
    double excluded[most];
};

// One call of a pointwise loss. The operands have rows * columns elements each.
struct PointwiseJob {
    Operand targets;
    Operand predictions;
    Operand other;  // of the kernels that take another array
    Operand weights;
    bool weighted;
    Masks masks;     // of elements
    void* values;    // null, or one per row: value_scale * the unweighted sum over the row
    void* gradient;  // null, or one per element: scale * weight * derivative
    ElementType gradient_type;  // what is computed in, or half precision with float32
    std::ptrdiff_t rows;
    std::ptrdiff_t columns;
    const double* parameters;
    double map_scale;
    double map_offset;
    Range target_range;  // of the targets before they are mapped
    Range prediction_range;
    double scale;
    double value_scale;
    double shrink = 1.0;  // what losses are multiplied by before they are added up
    bool detect_binary;  // map targets to -1 and 1 if all that have a weight are 0 or 1
};

struct PointwiseKernel {
    const char* name;
    int parameters;
    bool takes_other;
    Outcome (*float32)(const PointwiseJob&);
    Outcome (*float64)(const PointwiseJob&);
};

// A matrix: where its rows start (the elements of `starts`), and the bytes from one element of a
// row to the next
struct Matrix {
    Operand all;
    Operand starts;
    std::ptrdiff_t stride;
};

// One call of a row loss. The targets are a matrix like the predictions, or the class of each row, of which
// a loss of dense targets makes 1 at that class and 0 elsewhere.
struct RowJob {
    Matrix targets;
    Operand labels;
    bool one_hot = false;  // labels instead of dense targets
    Matrix predictions;
    Operand weights;  // one per row
    bool weighted;
    Masks masks;     // of rows
    const void* class_factors = nullptr;  // null, or what the mapped targets of each class are multiplied by
    void* values;    // null, or one per row: the unweighted loss
    void* gradient;  // null, or one per element: scale * weight * derivative
    ElementType gradient_type;  // what is computed in, or half precision with float32
    std::ptrdiff_t rows;
    std::ptrdiff_t columns;
    const double* parameters;
    double map_scale;
    double map_offset;
    Range target_range;  // of the targets before they are mapped
    Range prediction_range;
    double scale;
    double shrink = 1.0;  // what losses are multiplied by before they are added up
};

struct RowKernel {
    const char* name;
    int parameters;
    bool labels;  // targets are class indices
    Outcome (*float32)(const RowJob&);
    Outcome (*float64)(const RowJob&);
};

// One call of a loss of three arrays, in the order in which torch's function takes them. There is a loss for
// each row; the last array holds one number for each element or, where it has no derivative, for each row.
struct TripleJob {
    Operand arrays[3];
    Operand upstream;  // one per loss
    bool weighted;     // by what comes from upstream
    void* values;        // null, or one per loss
    void* gradients[3];  // null, or of its array's shape: scale * upstream * derivative
    std::ptrdiff_t rows;
    std::ptrdiff_t columns;
    const double* parameters;
    double scale;
};

struct TripleKernel {
    const char* name;
    int parameters;
    bool by_element;     // each element is a row, and arrays may be of any type
    int differentiable;  // how many of the arrays, from the first one, have a derivative
    Outcome (*float32)(const TripleJob&);  // whose offence has no place
    Outcome (*float64)(const TripleJob&);
};

// One call of connectionist temporal classification
struct CtcJob {
    const char* log_probs;
    std::ptrdiff_t strides[3];  // of time, sample and class, in bytes
    std::ptrdiff_t time;
    std::ptrdiff_t samples;
    std::ptrdiff_t classes;
    const std::int64_t* targets;  // longest_target class indices for each sample
    std::ptrdiff_t longest_target;
    const std::int64_t* input_lengths;
    const std::int64_t* target_lengths;
    std::int64_t blank;
    bool zero_infinity;    // an infinite loss counts as 0
    bool logits;           // log_probs are logits, whose logarithmic softmax is to be taken
    std::ptrdiff_t gradient_strides[2];  // of time and sample, in elements; classes are contiguous
    void* losses;          // one per sample
    void* gradient;        // null, or of the shape of log_probs: scale * derivative
    const double* scales;  // one per sample, with a gradient
};

// False where memory ran out
using CtcFunction = bool (*)(const CtcJob&);

// One call of the circle loss, of samples that are a part of a batch
struct CircleJob {
    double* cosines;  // (samples, references); overwritten with the gradient where there are factors
    std::ptrdiff_t samples;
    std::ptrdiff_t references;
    const std::int64_t* labels;      // one per sample
    const std::int64_t* ref_labels;  // one per reference
    const double* counted;           // one per reference: above 0 where it counts
    std::ptrdiff_t first;            // the first sample's place in the batch
    bool remove_diagonal;            // a sample is no reference of its own kind at its own place
    double gamma;
    double margin;
    double* losses;         // one per sample
    const double* factors;  // null, or one per sample: what the gradient is multiplied by
};

// The kernels as compiled for one instruction set
struct KernelTable {
    const char* instruction_set;
    const PointwiseKernel* pointwise;
    int pointwise_count;
    const RowKernel* rowwise;
    int rowwise_count;
    const TripleKernel* triples;
    int triple_count;
    CtcFunction ctc_float32;
    CtcFunction ctc_float64;
    void (*circle)(const CircleJob&);
    double (*stream)(const char* data, std::ptrdiff_t bytes);
    // Writes a number in half precision, rounded to the nearest.
    void (*narrow)(ElementType type, float x, void* out);
};

namespace generic {
const KernelTable& kernel_table();
}
namespace x86_64_v2 {
const KernelTable& kernel_table();
}
namespace x86_64_v3 {
const KernelTable& kernel_table();
}
namespace x86_64_v4 {
const KernelTable& kernel_table();
}

// The kernels of the instruction set in use
const KernelTable& active_kernels();

}  // namespace omniloss
