// Redaction: MB/s of the streaming redactor over text like a build log, with the secrets of a usual
// run.
#include <benchmark/benchmark.h>

#include <string>

#include "writ/runner/redactor.h"

namespace {

std::string BuildLog(std::size_t bytes) {
  static const char* const kLines[] = {
      "[ 12%] Building CXX object src/CMakeFiles/app.dir/session/session_begin.cc.o\n",
      "npm WARN deprecated inflight@1.0.6: This module is not supported, and leaks memory.\n",
      "2026-11-22T08:35:15.958Z info http.request: request done status=200 ms=12 id=4f2a9c\n",
      "PASS  tests/unit/redactor.test.ts (1.204 s)\n",
  };
  std::string text;
  for (std::size_t i = 0; text.size() < bytes; ++i) text += kLines[i % 4];
  return text;
}

void Redact(benchmark::State& state) {
  std::vector<writ::runner::NamedSecret> secrets;
  for (int i = 0; i < state.range(0); ++i)
    secrets.push_back(
        {"TOKEN_" + std::to_string(i),
         writ::Secret("sk-live-" + std::to_string(i * 7919) + "-f3Kq9ZrT1vXw8LmN2bHj")});
  writ::runner::Redactor redactor = writ::runner::Redactor::Build(secrets).value();
  const std::string text = BuildLog(8 << 20);
  for (auto _ : state) {
    std::size_t out = 0;
    writ::runner::RedactionStream stream(redactor,
                                         [&](std::string_view piece) { out += piece.size(); });
    for (std::size_t at = 0; at < text.size(); at += 65536)
      stream.Write(std::string_view(text).substr(at, 65536));
    stream.Finish();
    benchmark::DoNotOptimize(out);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * text.size()));
}
BENCHMARK(Redact)->Arg(1)->Arg(5)->Arg(20);

}  // namespace

BENCHMARK_MAIN();
