// Canonical JSON, chain append and bundle verification, each beside SHA-256 of the same bytes in
// the same run (counter `x_sha256`: how many times as long as OpenSSL's plain SHA-256 of the text).
//
//   bench_protocol --benchmark_min_time=1
#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <string>

#include "writ/protocol/bundle.h"
#include "writ/protocol/canonical.h"
#include "writ/protocol/events.h"

namespace writ::protocol {
namespace {

// The mix of a real run: mostly files changed and hosts reached, some artifacts.
json::Value Body(std::size_t i) {
  switch (i % 8) {
    case 0:
      return events::NetworkConnected(
          "host" + std::to_string(i % 40) + ".example.com",
          i % 3 == 0 ? NetworkDecision::kBlocked : NetworkDecision::kAllowed);
    case 1:
      return events::CommandExecuted(Sha256("argv" + std::to_string(i)), 0);
    case 2:
      return events::ArtifactCreated(ArtifactKind::kFile, Sha256("artifact" + std::to_string(i)));
    case 3:
      return events::BoundaryCrossed(Direction::kOut, Sha256("artifact" + std::to_string(i)),
                                     kDataClassArtifact);
    default:
      return events::FileChanged(
          "src/component" + std::to_string(i % 97) + "/file_" + std::to_string(i) + ".cc",
          Sha256("file" + std::to_string(i)));
  }
}

const std::string& BundleText(std::size_t count) {
  static std::map<std::size_t, std::string> cache;
  std::string& text = cache[count];
  if (!text.empty()) return text;
  const PrivateKey plane = PrivateKey::Generate(), runner = PrivateKey::Generate();
  const WallTime start{1782104748000};
  Contract draft;
  draft.run_id = RunId::Parse("run_bench").value();
  draft.issued_at = start;
  draft.requested_by = {ActorKind::kService, "bench"};
  draft.agent.kind = AgentKind::Parse("command").value();
  draft.prompt = "true";
  draft.pool = PoolName::Parse("default").value();
  draft.workspace.base_ref = CommitId::Parse(std::string(40, 'a')).value();
  draft.expires_at = start + std::chrono::hours(1);
  const Contract contract = SealContract(std::move(draft), plane).value();
  EventChain chain(contract.Hash());
  std::vector<Event> list;
  const RunnerId id = RunnerId::Parse("rnr_bench").value();
  list.push_back(chain.Append(start, events::RunCreated()));
  list.push_back(chain.Append(start, events::RunClaimed(id, runner.Public().Id())));
  for (std::size_t i = 0; list.size() + 1 < count; ++i) {
    list.push_back(
        chain.Append(start + std::chrono::milliseconds(static_cast<std::int64_t>(i)), Body(i)));
  }
  list.push_back(chain.Append(start + std::chrono::minutes(30), events::RunCompleted()));
  ReceiptFacts facts;
  facts.runner_id = id;
  facts.pool = contract.pool;
  Receipt receipt = ReceiptFromEvents(contract, list, facts).value();
  if (!SignAsRunner(receipt, runner) || !CountersignAsPlane(receipt, runner.Public(), plane))
    std::abort();
  text = json::Write(
      BuildBundle(contract, receipt, list, {plane.Public(), runner.Public(), std::nullopt}));
  return text;
}

// Processor time of this process: a busy machine does not blur the ratio.
double CpuSeconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double Sha256Seconds(const std::string& text) {
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto before = CpuSeconds();
    benchmark::DoNotOptimize(Sha256(text));
    best = std::min(best, (CpuSeconds() - before));
  }
  return best;
}

// Runs `work` over `text` and says how it compares.
template <typename Work>
void Beside(benchmark::State& state, const std::string& text, Work work) {
  const double sha = Sha256Seconds(text);
  const auto before = CpuSeconds();
  for (auto _ : state) work();
  const double each = (CpuSeconds() - before) / static_cast<double>(state.iterations());
  state.SetBytesProcessed(static_cast<std::int64_t>(text.size()) *
                          static_cast<std::int64_t>(state.iterations()));
  state.counters["x_sha256"] = each / sha;
  state.counters["sha256_ms"] = sha * 1000;
}

void VerifyText(benchmark::State& state) {
  const std::string& text = BundleText(static_cast<std::size_t>(state.range(0)));
  Beside(state, text, [&] {
    if (!VerifyBundle(text).ok) std::abort();
  });
}
BENCHMARK(VerifyText)->Arg(1000)->Arg(10000)->Arg(100000)->Unit(benchmark::kMillisecond);

void ParseText(benchmark::State& state) {
  const std::string& text = BundleText(static_cast<std::size_t>(state.range(0)));
  Beside(state, text, [&] { benchmark::DoNotOptimize(json::Parse(text).has_value()); });
}
BENCHMARK(ParseText)->Arg(10000)->Unit(benchmark::kMillisecond);

void Canonicalize(benchmark::State& state) {
  const std::string& text = BundleText(static_cast<std::size_t>(state.range(0)));
  const json::Value value = json::Parse(text).value();
  Beside(state, text, [&] { benchmark::DoNotOptimize(json::CanonicalBytes(value).size()); });
}
BENCHMARK(Canonicalize)->Arg(10000)->Unit(benchmark::kMillisecond);

void ChainAppend(benchmark::State& state) {
  EventChain chain(Sha256("contract"));
  std::size_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(chain.Append(WallTime{1782104748000}, Body(i % 1000)));
    ++i;
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()));
}
BENCHMARK(ChainAppend);

void SignReceiptHash(benchmark::State& state) {
  const PrivateKey key = PrivateKey::Generate();
  const Digest hash = Sha256("receipt");
  for (auto _ : state) benchmark::DoNotOptimize(SignDigest(key, Signer::kRunner, hash));
}
BENCHMARK(SignReceiptHash);

}  // namespace
}  // namespace writ::protocol

BENCHMARK_MAIN();
