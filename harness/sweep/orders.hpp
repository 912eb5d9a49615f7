// The orders that a worker understands, as lines of JSON: run a scenario, count the points of one, strike
// some. Each carries the scenario's text, so that the file may change meanwhile, and what it is compared
// with, so that it may be done anywhere.
#pragma once

#include <string>

#include "harness/sweep/strike.hpp"
#include "harness/work/workforce.hpp"

namespace drought {

std::string run_order(const Scenario& scenario, const RunOptions& options);
std::string count_order(const Scenario& scenario, const RunOptions& options, const CountAsked& asked);
std::string strike_order(const Scenario& scenario, const RunOptions& options, const std::vector<Blow>& blows,
                         const Footprint& unswept, const Footprint& faultless);

/// What an answer says. A lost order's is a verdict too: crashed or hung.
RunResult run_answer(const Done& done, const Scenario& scenario, const RunOptions& options);
Counted count_answer(const Done& done);
Struck strike_answer(const Done& done);

/// As run_scenario, in a worker of its own.
RunResult run_isolated(const Scenario& scenario, const RunOptions& options);

/// Does orders with these catalogues. Keeps the last scenario parsed. Throws UserError for a scenario that
/// does not parse, nlohmann::json::exception for what is no order.
Doer order_doer(const Catalogues& catalogues);

}  // namespace drought
