// A bundle's golden frames through a predictor: what PyTorch made of them at export is compared with
// what comes out here. runtime/judging.py for C++, for depth.
#pragma once

#include <string>

#include "apdepth.hpp"

// A line on stdout for each frame. Throws CheckFailed at the end where one strays, with where, by how
// much, and what is allowed;
// std::runtime_error where the bundle has no golden frames, or damaged ones.
void self_test(const std::string &bundle, const apdepth::Predictor &predictor);
