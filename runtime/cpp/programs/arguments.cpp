#include "arguments.hpp"

#include <algorithm>
#include <cstdio>
#include <exception>

Arguments::Arguments(int argc, char **argv, const std::vector<std::string> &known,
                     const std::vector<std::string> &flags) {
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word.size() < 2 || word[0] != '-') {
            words.push_back(word);
            continue;
        }
        if (word == "-h" || word == "--help" || word == "--version") throw Question{word};
        if (std::find(flags.begin(), flags.end(), word) != flags.end()) {
            options[word] = "";
            continue;
        }
        if (std::find(known.begin(), known.end(), word) == known.end())
            throw WrongUse("unknown option " + word);
        if (i + 1 == argc) throw WrongUse(word + " needs a value");
        options[word] = argv[++i];
    }
}

const char *Arguments::get(const std::string &name) const {
    const auto found = options.find(name);
    return found == options.end() ? nullptr : found->second.c_str();
}

int Arguments::number(const std::string &name, int otherwise) const {
    const char *text = get(name);
    if (text == nullptr) return otherwise;
    int value = 0, end = 0;
    const bool whole = std::sscanf(text, "%9d%n", &value, &end) == 1 && text[end] == '\0';
    if (!whole || value < 1) throw WrongUse(name + " " + text + ": a number from 1 on is needed");
    return value;
}

apdepth_options Arguments::open_options() const {
    apdepth_options options_{};
    options_.backend = get("--backend");
    options_.precision = get("--precision");
    options_.device = get("--device");
    return options_;
}

int run_program(const char *usage, const std::function<void()> &work) {
    try {
        work();
        return 0;
    } catch (const Question &question) {
        if (question.word == "--version") std::printf("%s\n", apdepth_version());
        else std::printf("%s", usage);
        return 0;
    } catch (const WrongUse &error) {
        std::fprintf(stderr, "error: %s\n%s", error.what(), usage);
    } catch (const CheckFailed &error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "error: %s\n", error.what());
    }
    return 2;
}
