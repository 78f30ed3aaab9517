#include "membrane.hpp"

#include <algorithm>
#include <cmath>

namespace apdepth::detail {
namespace {

// T of the conductance, of the range of relative depth, between fine cells.
constexpr double kEdge = 0.02;

double conductance(double step, double edge) { return 1.0 / (1.0 + (step / edge) * (step / edge)); }

// At least two, and `cells` along the longer side.
int cell_count(int side, Shape picture, int cells) {
    const double exact =
        static_cast<double>(cells) * side / std::max(picture.height, picture.width);
    return std::max(2, std::min(side, static_cast<int>(std::nearbyint(exact))));
}

// The pixel of a cell's centre.
std::size_t centre(int cell, int side, int cells) {
    return static_cast<std::size_t>((cell + 0.5) * side / cells);
}

}  // namespace

void Grid::make(const float *depth, Shape picture, int cells) {
    shape = {cell_count(picture.height, picture, cells), cell_count(picture.width, picture, cells)};
    const auto h = static_cast<std::size_t>(shape.height);
    const auto w = static_cast<std::size_t>(shape.width);
    depth_.clear(), depth_.reserve(h * w), right.resize(h * (w - 1)), down.resize((h - 1) * w);
    for (int row = 0; row < shape.height; ++row) {
        const float *line = depth + centre(row, picture.height, shape.height) *
                                        static_cast<std::size_t>(picture.width);
        for (int column = 0; column < shape.width; ++column) {
            const float there = line[centre(column, picture.width, shape.width)];
            depth_.push_back(std::isfinite(there) ? double{there} : 0.0);
        }
    }
    const double edge = static_cast<double>(kFine) / cells * kEdge;
    for (std::size_t row = 0; row < h; ++row)
        for (std::size_t i = row * w; i + 1 < (row + 1) * w; ++i)
            right[i - row] = conductance(depth_[i + 1] - depth_[i], edge);
    for (std::size_t i = 0; i < down.size(); ++i)
        down[i] = conductance(depth_[i + w] - depth_[i], edge);
}

Place place_in(const Grid &grid, Shape picture, double x, double y) {
    const int h = grid.shape.height, w = grid.shape.width;
    const double down = std::clamp((y + 0.5) * h / picture.height - 0.5, 0.0, h - 1.0);
    const double right = std::clamp((x + 0.5) * w / picture.width - 0.5, 0.0, w - 1.0);
    const int row = std::min(static_cast<int>(down), h - 2);
    const int column = std::min(static_cast<int>(right), w - 2);
    const double below = down - row, beside = right - column;
    const double above = 1.0 - below, before = 1.0 - beside;
    return {row, column, {above * before, above * beside, below * before, below * beside}};
}

template <int Lanes>
void Membranes<Lanes>::solve(const Grid &grid, const std::vector<Place> &places, const Doubles &rho,
                             const Doubles &pulls, const Doubles &sinks) {
    const auto h = static_cast<std::size_t>(grid.shape.height);
    const auto w = static_cast<std::size_t>(grid.shape.width);
    // Neighbours along the shorter side follow each other: the band is narrow.
    below_ = h <= w ? 1 : w, beside_ = h <= w ? h : 1;
    band_ = std::min(h, w) + 1, cells_ = h * w;
    matrix_.assign(cells_ * (band_ + 1) * Lanes, 0.0);
    right_side_.assign(cells_ * Lanes, 0.0);
    spread(grid, sinks);
    for (std::size_t i = 0; i < places.size(); ++i)
        pull(places[i], rho[i], pulls.data() + i * Lanes);
    eliminate();
}

template <int Lanes>
void Membranes<Lanes>::spread(const Grid &grid, const Doubles &sinks) {
    const auto join = [this](std::size_t one, std::size_t step, double by) {
        for (std::size_t lane = 0; lane < Lanes; ++lane) {
            coefficient(one, 0)[lane] += by;
            coefficient(one + step, 0)[lane] += by;
            coefficient(one, step)[lane] -= by;
        }
    };
    std::size_t next = 0;
    for (int row = 0; row < grid.shape.height; ++row)
        for (int column = 0; column < grid.shape.width; ++column, ++next)
            for (std::size_t lane = 0; lane < Lanes; ++lane)
                coefficient(cell(row, column), 0)[lane] = sinks[next];
    next = 0;
    for (int row = 0; row < grid.shape.height; ++row)
        for (int column = 0; column + 1 < grid.shape.width; ++column)
            join(cell(row, column), beside_, grid.right[next++]);
    next = 0;
    for (int row = 0; row + 1 < grid.shape.height; ++row)
        for (int column = 0; column < grid.shape.width; ++column)
            join(cell(row, column), below_, grid.down[next++]);
}

template <int Lanes>
void Membranes<Lanes>::pull(const Place &at, double rho, const double *pulls) {
    const std::size_t here = cell(at.row, at.column);
    const std::size_t cells[4] = {here, here + beside_, here + below_, here + below_ + beside_};
    for (std::size_t i = 0; i < 4; ++i) {
        for (std::size_t lane = 0; lane < Lanes; ++lane)
            right_side_[cells[i] * Lanes + lane] += at.share[i] * pulls[lane] * rho;
        for (std::size_t j = i; j < 4; ++j) {
            const std::size_t first = std::min(cells[i], cells[j]);
            double *one = coefficient(first, std::max(cells[i], cells[j]) - first);
            for (std::size_t lane = 0; lane < Lanes; ++lane)
                one[lane] += at.share[i] * at.share[j] * pulls[lane];
        }
    }
}

template <int Lanes>
void Membranes<Lanes>::eliminate() {
    for (std::size_t one = 0; one < cells_; ++one) {
        const std::size_t reach = std::min(band_, cells_ - 1 - one);
        const double *__restrict row = coefficient(one, 0);
        const double *__restrict told = right_side_.data() + one * Lanes;
        double inverse[Lanes];
        for (std::size_t lane = 0; lane < Lanes; ++lane) inverse[lane] = 1.0 / row[lane];
        for (std::size_t step = 1; step <= reach; ++step) {
            double share[Lanes];
            for (std::size_t lane = 0; lane < Lanes; ++lane)
                share[lane] = row[step * Lanes + lane] * inverse[lane];
            double *__restrict other = coefficient(one + step, 0);
            const double *__restrict from = row + step * Lanes;
            for (std::size_t i = 0; i <= reach - step; ++i)
                for (std::size_t lane = 0; lane < Lanes; ++lane)
                    other[i * Lanes + lane] -= share[lane] * from[i * Lanes + lane];
            double *__restrict theirs = right_side_.data() + (one + step) * Lanes;
            for (std::size_t lane = 0; lane < Lanes; ++lane)
                theirs[lane] -= share[lane] * told[lane];
        }
    }
    for (std::size_t one = cells_; one-- > 0;) {
        const std::size_t reach = std::min(band_, cells_ - 1 - one);
        const double *row = coefficient(one, 0);
        double *told = right_side_.data() + one * Lanes;
        for (std::size_t step = 1; step <= reach; ++step)
            for (std::size_t lane = 0; lane < Lanes; ++lane)
                told[lane] -= row[step * Lanes + lane] * told[step * Lanes + lane];
        for (std::size_t lane = 0; lane < Lanes; ++lane) told[lane] /= row[lane];
    }
}

template <int Lanes>
double Membranes<Lanes>::read(const Place &at, int lane) const {
    return at.share[0] * value(at.row, at.column, lane) +
           at.share[1] * value(at.row, at.column + 1, lane) +
           at.share[2] * value(at.row + 1, at.column, lane) +
           at.share[3] * value(at.row + 1, at.column + 1, lane);
}

template class Membranes<1>;
template class Membranes<4>;

}  // namespace apdepth::detail
