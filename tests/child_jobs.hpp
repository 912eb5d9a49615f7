// What drought_tests can do as a child of its own, one function a test file. tests/main.cpp lists them.
#pragma once

#include <istream>
#include <ostream>

namespace drought {

/// Does what its first input line says: "exit N", "abort", "say N" (bytes), "hang", "echo" (the other
/// lines, one by one).
int run_act(std::istream& input, std::ostream& record);

/// A worker whose orders are "say TEXT", "read FILE" (its first line), "leave", "mistake", "abort",
/// "signal N", "exit N" and "hang".
int run_deeds(std::istream& input, std::ostream& answers);

/// Makes a cuda device and does the case that its input names, "illegal_address" or "offsets"; 77 without
/// a GPU.
int run_cuda_case(std::istream& input, std::ostream& record);

/// Does the case of guard_cases() that its input names after "host" or "cuda", on a fresh device of that
/// lane; the record is what came of it. 77 without a GPU.
int run_guard_case(std::istream& input, std::ostream& record);

/// Runs the row of the semantics table whose index it is given on a fresh cuda device; the record is what
/// differed, "" if nothing did. 77 without a GPU.
int run_semantics_row(std::istream& input, std::ostream& record);

/// Workers that know workloads which end them.
int run_deadly_worker(std::istream& orders, std::ostream& answers);
int run_dying_worker(std::istream& orders, std::ostream& answers);

/// A worker with the shipped catalogues (harness/sweep/orders.hpp).
int run_worker(std::istream& orders, std::ostream& answers);

}  // namespace drought
