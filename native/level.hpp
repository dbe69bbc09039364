// Everything that is compiled once for each instruction set lives in a namespace of its own, named
// by the build. Without that the linker would keep one copy of each inline function, of any level.
#pragma once

#ifndef OMNILOSS_LEVEL
#define OMNILOSS_LEVEL generic
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define OMNILOSS_INLINE __forceinline
#define OMNILOSS_NOINLINE __declspec(noinline)
#define OMNILOSS_RESTRICT __restrict
#else
#define OMNILOSS_INLINE inline __attribute__((always_inline))
#define OMNILOSS_NOINLINE __attribute__((noinline))
#define OMNILOSS_RESTRICT __restrict__
#endif
