#include "field.hpp"

#include <algorithm>
#include <cmath>

namespace apdepth::detail {
namespace {

// w of an anchor that nothing speaks against.
constexpr double kPull = 20.0;
// e, by which the field sinks to 0 away from anchors, and where none is so near (of the longer side).
constexpr double kSink = 0.002, kLonelySink = 0.02, kNear = 0.2;
constexpr std::size_t kFolds = 4;
// Fewer anchors don't tell whom to trust.
constexpr std::size_t kLeast = 16;
// Anchors that vote on the others.
constexpr std::size_t kJudges = 256;
// Neighbours asked; how near in relative depth they are of one surface; the share that suffices.
constexpr double kNeighbours = 12.0, kSameSurface = 0.1, kQuorum = 0.4;
// Anchors are doubted from so many medians away from what the others tell, and from this log error.
constexpr double kDoubtMedians = 8.0, kDoubtLeast = 0.3;
// Log error from which on a miss is only a miss.
constexpr double kGross = 0.5;
// What of the field may be kept: eighths.
constexpr int kShares = 8;
constexpr double kPi = 3.14159265358979323846;

double square(double value) { return value * value; }

}  // namespace

void Residuals::clear() { at_x.clear(), at_y.clear(), depth.clear(), rho.clear(), trust.clear(); }

void Residuals::reserve(std::size_t count) {
    for (Doubles *column : {&at_x, &at_y, &depth, &rho, &trust}) column->reserve(count);
}

void Residuals::add(double x, double y, double d, double left, double trusted) {
    at_x.push_back(x), at_y.push_back(y), depth.push_back(d);
    rho.push_back(left), trust.push_back(trusted);
}

// 0 to 1: whether enough of an anchor's neighbours have a residual like its own. The neighbours vote
// the more the nearer they are, in the picture and in relative depth.
void Field::vote(Shape picture, const Residuals &left) {
    const std::size_t count = left.size(), judges = std::min(count, kJudges);
    const double all = static_cast<double>(judges);
    const double reach = kNeighbours * picture.height * picture.width / (kPi * all);
    const double alike = std::min(std::max(1.6 / std::sqrt(all), 0.06), 0.3);
    judge_x_.resize(judges), judge_y_.resize(judges), distance_.resize(judges);
    for (std::size_t j = 0; j < judges; ++j) {
        judge_x_[j] = left.at_x[j * count / judges];
        judge_y_[j] = left.at_y[j * count / judges];
    }
    voted_.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
        const double x = left.at_x[i], y = left.at_y[i];
        for (std::size_t j = 0; j < judges; ++j)
            distance_[j] = square(x - judge_x_[j]) + square(y - judge_y_[j]);
        double votes = 0.0, agreed = 0.0;
        for (std::size_t j = 0; j < judges; ++j) {
            const std::size_t judge = j * count / judges;
            if (distance_[j] >= reach || judge == i) continue;
            const double away = (left.depth[i] - left.depth[judge]) / kSameSurface;
            const double one = 1.0 / ((1.0 + 2.0 * distance_[j] / reach) * (1.0 + away * away));
            votes += one;
            agreed += one / (1.0 + square(square((left.rho[i] - left.rho[judge]) / alike)));
        }
        const double share = votes > 0.0 ? agreed / std::max(votes, 1e-12) : 1.0;
        voted_[i] = square(std::min(share / kQuorum, 1.0));
    }
}

// `told`: f at every anchor, of a membrane that a quarter of the anchors with it doesn't hold.
// Returns how far that misses, in all.
double Field::told_by_others(const Residuals &left, const Doubles &pulls, Doubles &told) {
    const std::size_t count = left.size();
    kept_.resize(count * kFolds), told.resize(count);
    for (std::size_t i = 0; i < count; ++i)
        for (std::size_t fold = 0; fold < kFolds; ++fold)
            kept_[i * kFolds + fold] = i % kFolds == fold ? 0.0 : pulls[i];
    folds_.solve(grid_, places_, left.rho, kept_, sinks_);
    double missed = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
        told[i] = folds_.read(places_[i], static_cast<int>(i % kFolds));
        missed += left.trust[i] * std::min(std::abs(told[i] - left.rho[i]), kGross);
    }
    return missed;
}

// Lessens `pulls` of anchors that are far from what the others told.
void Field::doubt(const Residuals &left, const Doubles &told, Doubles &pulls) {
    const std::size_t count = left.size();
    sorted_.clear(), sorted_.reserve(count);
    for (std::size_t i = 0; i < count; ++i)
        if (voted_[i] > 0.5) sorted_.push_back(std::abs(told[i] - left.rho[i]));
    const double middle = sorted_.empty() ? 0.0 : median(sorted_.data(), sorted_.size());
    const double most = std::max(kDoubtMedians * middle, kDoubtLeast);
    for (std::size_t i = 0; i < count; ++i)
        pulls[i] /= square(1.0 + square((told[i] - left.rho[i]) / most));
}

// The share of what was told, in eighths, that misses the anchors least.
double Field::share_of(const Residuals &left, const Doubles &pulls, const Doubles &told) const {
    double best = 0.0, least = 0.0;
    for (int eighths = 0; eighths <= kShares; ++eighths) {
        const double share = static_cast<double>(eighths) / kShares;
        double missed = 0.0;
        for (std::size_t i = 0; i < left.size(); ++i)
            missed += pulls[i] * std::abs(told[i] * share - left.rho[i]);
        if (eighths == 0 || missed < least) best = share, least = missed;
    }
    return best;
}

bool Field::fit(const float *depth, Shape picture, const Residuals &left) {
    const std::size_t count = left.size();
    if (count < kLeast) return false;
    place(depth, picture, kCoarse, left);
    for (Doubles &pulls : pulls_) pulls.resize(count);
    // Of all alike, of those that neighbours vote for, and of those that the others' membrane doesn't
    // contradict either.
    for (std::size_t i = 0; i < count; ++i) pulls_[0][i] = kPull * left.trust[i];
    double missed[3] = {told_by_others(left, pulls_[0], told_[0]), 0.0, 0.0};
    vote(picture, left);
    for (std::size_t i = 0; i < count; ++i) pulls_[1][i] = pulls_[0][i] * voted_[i];
    missed[1] = told_by_others(left, pulls_[1], told_[1]);
    std::copy(pulls_[1].begin(), pulls_[1].end(), pulls_[2].begin());
    doubt(left, told_[1], pulls_[2]);
    missed[2] = told_by_others(left, pulls_[2], told_[2]);
    const auto way = static_cast<std::size_t>(std::min_element(missed, missed + 3) - missed);
    const Doubles &told = told_[way];
    const double share = share_of(left, pulls_[way], told);
    if (share == 0.0) return false;
    sorted_.resize(count);
    for (std::size_t i = 0; i < count; ++i) sorted_[i] = std::abs(share * told[i] - left.rho[i]);
    error = median(sorted_.data(), count);
    place(depth, picture, kFine, left);
    whole_.solve(grid_, places_, left.rho, pulls_[way], sinks_);
    shape = grid_.shape;
    values.clear();
    for (int row = 0; row < shape.height; ++row)
        for (int column = 0; column < shape.width; ++column)
            values.push_back(static_cast<float>(share * whole_.value(row, column, 0)));
    return true;
}

void Field::place(const float *depth, Shape picture, int cells, const Residuals &left) {
    grid_.make(depth, picture, cells);
    places_.clear(), places_.reserve(left.size());
    for (std::size_t i = 0; i < left.size(); ++i)
        places_.push_back(place_in(grid_, picture, left.at_x[i], left.at_y[i]));
    sink(cells);
}

// e of each cell.
void Field::sink(int cells) {
    const int h = grid_.shape.height, w = grid_.shape.width;
    const int reach = static_cast<int>(std::lround(kNear * cells));
    const auto at = [w](int row, int column) { return static_cast<std::size_t>(row * w + column); };
    const double scale = square(double{kFine} / cells);
    held_.assign(at(h, 0), 0), beside_.assign(at(h, 0), 0);
    for (const Place &one : places_) held_[at(one.row, one.column)] = 1;
    for (int row = 0; row < h; ++row)
        for (int column = 0; column < w; ++column)
            if (held_[at(row, column)] != 0)
                std::fill(beside_.begin() + row * w + std::max(column - reach, 0),
                          beside_.begin() + row * w + std::min(column + reach + 1, w), 1);
    sinks_.assign(at(h, 0), kLonelySink * scale);
    for (int row = 0; row < h; ++row)
        for (int column = 0; column < w; ++column)
            if (beside_[at(row, column)] != 0)
                for (int other = std::max(row - reach, 0); other < std::min(row + reach + 1, h);
                     ++other)
                    sinks_[at(other, column)] = kSink * scale;
}

}  // namespace apdepth::detail
