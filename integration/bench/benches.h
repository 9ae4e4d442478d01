// The benchmarks, one file each.
#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <string>

namespace bmcpair::bench {

// Each measures its figure and floor by itself, so that they can be by turns: Google Benchmark asks for one iteration.
// What it throws is its failure.
void add(const std::string& name, std::function<void(benchmark::State&)> run);

void register_registers();
void register_transactions();
void register_interfaces();
void register_boards();
void register_sel();

}  // namespace bmcpair::bench
