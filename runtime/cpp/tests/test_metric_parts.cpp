// What metres are made of: the membrane's equations, its exponential, its sentences, its memory.
#include <cstdlib>
#include <new>

#include "apdepth.hpp"
#include "check.hpp"
#include "metric/membrane.hpp"
#include "metric/rows.hpp"
#include "metric/sentence.hpp"
#include "scenes.hpp"

namespace {

std::size_t allocations = 0;

}  // namespace

// Everything that this program and the library ask for passes here.
void *operator new(std::size_t bytes) {
    ++allocations;
    void *memory = std::malloc(bytes);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

namespace apdepth::detail {
namespace {

// Gauss's elimination of a whole matrix [n][n], with its right side [n]: the solution.
Doubles solve(Doubles matrix, Doubles right) {
    const std::size_t n = right.size();
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = i + 1; j < n; ++j) {
            const double share = matrix[j * n + i] / matrix[i * n + i];
            for (std::size_t k = i; k < n; ++k) matrix[j * n + k] -= share * matrix[i * n + k];
            right[j] -= share * right[i];
        }
    for (std::size_t i = n; i-- > 0;) {
        for (std::size_t k = i + 1; k < n; ++k) right[i] -= matrix[i * n + k] * right[k];
        right[i] /= matrix[i * n + i];
    }
    return right;
}

struct Problem {
    Problem(Shape picture, int cells) {
        Numbers numbers(7);
        std::vector<float> depth;
        for (int i = 0; i < picture.height * picture.width; ++i)
            depth.push_back(static_cast<float>(numbers.uniform(0, 1)));
        grid.make(depth.data(), picture, cells);
        for (int i = 0; i < 30; ++i) {
            places.push_back(place_in(grid, picture, numbers.uniform(-0.5, picture.width - 0.5),
                                      numbers.uniform(-0.5, picture.height - 0.5)));
            rho.push_back(numbers.uniform(-1, 1));
            for (int lane = 0; lane < 4; ++lane) pulls.push_back(numbers.uniform(0, 10));
        }
        const int cell_count = grid.shape.height * grid.shape.width;
        for (int i = 0; i < cell_count; ++i) sinks.push_back(numbers.uniform(0.005, 0.05));
    }

    std::size_t cell(int row, int column) const {
        return static_cast<std::size_t>(row) * static_cast<std::size_t>(grid.shape.width) +
               static_cast<std::size_t>(column);
    }

    // The whole matrix, built cell by cell.
    Doubles expected(std::size_t lane) const {
        const int h = grid.shape.height, w = grid.shape.width;
        const auto n = static_cast<std::size_t>(h) * static_cast<std::size_t>(w);
        Doubles matrix(n * n), right(n);
        for (std::size_t i = 0; i < n; ++i) matrix[i * n + i] = sinks[i];
        const auto join = [&](std::size_t one, std::size_t other, double by) {
            matrix[one * n + one] += by, matrix[other * n + other] += by;
            matrix[one * n + other] -= by, matrix[other * n + one] -= by;
        };
        for (int row = 0; row < h; ++row)
            for (int column = 0; column + 1 < w; ++column)
                join(cell(row, column), cell(row, column + 1),
                     grid.right[cell(row, column) - static_cast<std::size_t>(row)]);
        for (int row = 0; row + 1 < h; ++row)
            for (int column = 0; column < w; ++column)
                join(cell(row, column), cell(row + 1, column), grid.down[cell(row, column)]);
        for (std::size_t k = 0; k < places.size(); ++k)
            for (int i = 0; i < 4; ++i) {
                const Place &at = places[k];
                const std::size_t one = cell(at.row + i / 2, at.column + i % 2);
                right[one] += at.share[i] * pulls[4 * k + lane] * rho[k];
                for (int j = 0; j < 4; ++j)
                    matrix[one * n + cell(at.row + j / 2, at.column + j % 2)] +=
                        at.share[i] * at.share[j] * pulls[4 * k + lane];
            }
        return solve(matrix, right);
    }

    Grid grid;
    std::vector<Place> places;
    Doubles rho, pulls, sinks;
};

void membranes_solve_their_equations() {
    for (const Shape picture :
         {Shape{48, 64}, {64, 48}, {50, 50}, {2, 2}, {2, 40}, {40, 2}, {3, 3}}) {
        const Problem problem(picture, 12);
        Membranes<4> folds;
        folds.solve(problem.grid, problem.places, problem.rho, problem.pulls, problem.sinks);
        Membranes<1> whole;
        Doubles pulls;
        for (std::size_t i = 0; i < problem.places.size(); ++i)
            pulls.push_back(problem.pulls[4 * i]);
        whole.solve(problem.grid, problem.places, problem.rho, pulls, problem.sinks);
        for (int lane = 0; lane < 4; ++lane) {
            const Doubles expected = problem.expected(static_cast<std::size_t>(lane));
            for (int row = 0; row < problem.grid.shape.height; ++row)
                for (int column = 0; column < problem.grid.shape.width; ++column) {
                    const double found = folds.value(row, column, lane);
                    CHECK(std::abs(found - expected[problem.cell(row, column)]) < 1e-9);
                    CHECK(lane > 0 || std::abs(whole.value(row, column, 0) - found) < 1e-9);
                }
        }
    }
}

// A field that rises along a row of pixels, or all over, through the range of exp; and beyond it.
void the_exponential_is_the_c_librarys() {
    Field field;
    field.shape = {2, 40};
    for (int i = 0; i < 80; ++i) field.values.push_back(static_cast<float>(i % 40) * 4.0f - 78.0f);
    FieldOver over;
    over.prepare(field, {5, 1000});
    for (int row = 0; row < 5; ++row) {
        const float *found = over.factors(row);
        for (int i = 0; i < 1000; ++i) {
            const double at = std::clamp((i + 0.5) * 40 / 1000 - 0.5, 0.0, 39.0);
            const double exact = at * 4.0 - 78.0;
            CHECK(std::abs(std::log(double{found[i]}) - exact) <
                  4e-7 * (1.0 + 20.0 * std::abs(exact)));
            CHECK(std::abs(exact) > 2.0 || std::abs(found[i] / std::exp(exact) - 1.0) < 2e-6);
        }
    }
    for (const float far : {1e30f, -1e30f}) {
        field.values.assign(80, far);
        const float factor = over.factors(0)[500];
        CHECK(far > 0 ? factor > 1e37f && std::isfinite(factor) : factor > 0.0f && factor < 1e-37f);
    }
}

void sentences_round_as_python_does() {
    char room[40];
    Sentence(room) << "all " << -12 << " at " << Rounded{0.0625, 3} << ", " << Rounded{62.5, 0}
                   << " " << Rounded{2.0005, 3} << "!";
    CHECK(std::string(room) == "all -12 at 0.062, 62 2.001!");
    char small[8];
    Sentence(small) << "one " << 123456789 << " two";
    CHECK(std::string(small).size() <= 7);
    Sentence(small) << "0123456789";
    CHECK(std::string(small) == "0123456");
}

// The first frame of a size, with as many anchors, asks for all memory that later ones need.
void later_frames_ask_for_no_memory() {
    const Scene first(480, 640), second(480, 640, 3.0, 2.0), small(240, 320);
    const std::vector<apdepth_anchor> many = first.anchors(2000, 0.2, 1);
    const std::vector<apdepth_anchor> few = second.anchors(20, 0.2, 2), none;
    std::vector<float> metres(first.depth.size());
    apdepth::Metric metric;
    const auto frame = [&](const Scene &scene, const std::vector<apdepth_anchor> &anchors,
                           int skip_field) {
        const Depth depth(scene.depth, scene.height, scene.width);
        metric.fit(depth, anchors, {skip_field});
        metric.metres(depth, metres);
    };
    frame(first, many, 0);
    const std::size_t before = allocations;
    CHECK(before > 0);
    for (int skip_field : {0, 1}) {
        frame(second, many, skip_field);
        frame(first, few, skip_field);
        frame(small, few, skip_field);
        frame(second, none, skip_field);
    }
    CHECK(allocations == before);
}

}  // namespace
}  // namespace apdepth::detail

int main() {
    using namespace apdepth::detail;
    membranes_solve_their_equations();
    the_exponential_is_the_c_librarys();
    sentences_round_as_python_does();
    later_frames_ask_for_no_memory();
}
