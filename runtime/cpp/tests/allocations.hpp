// How often operator new was called, by the library, too: in programs with allocations.cpp.
#pragma once

long allocations();
