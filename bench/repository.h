// Repositories to measure with, made by real git, and the medians of what was measured.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <type_traits>
#include <vector>

#include "writ/base/child.h"
#include "writ/base/result.h"

namespace writ::bench {

using SteadyTime = std::chrono::steady_clock::time_point;

inline double Ms(SteadyTime from, SteadyTime to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

template <typename T>
T Must(Result<T> result, const char* what) {
  if (!result) {
    std::fprintf(stderr, "%s: %s\n", what, result.error().ToString().c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(result).value();
}

inline double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

inline void Git(const std::string& cwd, std::vector<std::string> args,
                const std::string& out = "/dev/null") {
  UniqueFd fd(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  SpawnOptions options;
  options.path = "/usr/bin/git";
  options.argv = {"git", "-c",       "user.name=bench", "-c", "user.email=bench@example.com",
                  "-c",  "gc.auto=0"};
  options.argv.insert(options.argv.end(), args.begin(), args.end());
  options.env = {"PATH=/usr/bin:/bin", "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1"};
  options.cwd = cwd;
  options.fds = {{fd.get(), 1}};
  Child child = Must(Child::Spawn(options), "git");
  auto status = Must(child.Wait(std::nullopt), "git");
  if (!status || status->ShellCode() != 0) {
    std::fprintf(stderr, "git %s failed\n", args.front().c_str());
    std::exit(1);
  }
}

// `files` files of about 600 bytes in folders of 100.
inline void MakeRepository(const std::filesystem::path& root, int files) {
  std::filesystem::create_directories(root);
  for (int i = 0; i < files; ++i) {
    std::filesystem::path dir = root / ("d" + std::to_string(i / 100));
    if (i % 100 == 0) std::filesystem::create_directories(dir);
    std::ofstream out(dir / ("f" + std::to_string(i) + ".txt"));
    for (int line = 0; line < 20; ++line)
      out << "line " << line << " of file " << i << " " << (i * 7919 + line * 104729) % 1000003
          << "\n";
  }
  Git(root, {"init", "-q", "-b", "main"});
  Git(root, {"add", "-A"});
  Git(root, {"commit", "-q", "-m", "bench"});
}

}  // namespace writ::bench
