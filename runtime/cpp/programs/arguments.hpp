// The command line of the programs: what they share, read in one way.
#pragma once

#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "apdepth.h"

// Wrong use; what() says which.
struct WrongUse : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// -h, --help or --version: it is answered in place of the work.
struct Question {
    std::string word;
};

// Words without a dash in order, and the options: "--name VALUE".
struct Arguments {
    std::vector<std::string> words;
    std::map<std::string, std::string> options;

    // `flags` are options without a value. Throws WrongUse for an option that is not in `known`, or one
    // without its value; a Question.
    Arguments(int argc, char **argv, const std::vector<std::string> &known,
              const std::vector<std::string> &flags = {});

    const char *get(const std::string &name) const;            // nullptr where it wasn't given
    int number(const std::string &name, int otherwise) const;  // 1 or more; throws WrongUse

    // --backend, --precision, --device. They live as long as these arguments.
    apdepth_options open_options() const;
};

// The work failed a check; what() says which.
struct CheckFailed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Run a program: 0 done or a Question answered, 1 CheckFailed, 2 wrong use or bad input, the reason on
// stderr.
int run_program(const char *usage, const std::function<void()> &work);
