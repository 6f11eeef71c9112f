// The page server alone: against a test client, and beside a plain private mapping of the same
// file.
//
//   bench_pages [MIB, default 256] [ROUNDS, default 30]
//
// Every round makes each measurement once; medians are printed. A page's latency is what the
// faulting thread sees. "first": the restore that hashes each leaf; "later": another clone of it.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "served_vmm.h"
#include "writ/backends/microvm/pages/memory_digest.h"
#include "writ/backends/microvm/pages/working_set.h"

namespace {

using namespace writ;                            // NOLINT: a program of its own
using namespace writ::backends::microvm::pages;  // NOLINT
using Clock = std::chrono::steady_clock;

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "bench_pages: %s\n", why.c_str());
  std::exit(1);
}

template <typename T>
T Must(Result<T> result) {
  if (!result) Die(result.error().ToString());
  return std::move(result).value();
}

double Since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

// Named rows of measured columns, in the order of their first use.
class Table {
 public:
  void Add(const std::string& row, const std::string& column, double value) {
    if (!rows_.contains(row)) order_.push_back(row);
    auto& columns = rows_[row];
    for (auto& [name, values] : columns)
      if (name == column) return values.push_back(value);
    columns.push_back({column, {value}});
  }
  void Print() {
    for (const std::string& row : order_) {
      std::printf("%-34s", row.c_str());
      for (auto& [name, values] : rows_[row]) {
        std::sort(values.begin(), values.end());
        std::printf("  %s %.1f", name.c_str(), values[values.size() / 2]);
      }
      std::printf("\n");
    }
  }

 private:
  std::vector<std::string> order_;
  std::map<std::string, std::vector<std::pair<std::string, std::vector<double>>>> rows_;
};

struct Walked {
  double total_us = 0, p50_us = 0, p99_us = 0;
};

Walked TakeWalk(test::TestVmm& vmm) {
  std::istringstream words(vmm.TakeAnswer().value_or(""));
  Walked out;
  words >> out.total_us >> out.p50_us >> out.p99_us;
  if (!words) Die("a machine has ended");
  return {out.total_us / 1000, out.p50_us / 1000, out.p99_us / 1000};
}

struct Placement {
  const char* name;
  std::optional<int> vmm_cpu;
  std::optional<std::uint32_t> server_cpu;
  unsigned spinners;
};

struct Bench {
  std::uint64_t bytes;
  test::MemoryFiles& files;
  Table& table;

  PageService Start(unsigned spinners, std::uint64_t around) const {
    std::filesystem::remove(files.folder() + "/" + kWorkingSetName);
    return Again(spinners, around);
  }
  PageService Again(unsigned spinners, std::uint64_t around) const {
    ServingOptions serving;
    serving.spinners = spinners;
    serving.around = around;
    PageService service = Must(test::StartPages(serving));
    if (auto opened = files.OpenIn(service, 1); !opened) Die(opened.error().ToString());
    return service;
  }
  test::ServedVmm Serve(PageService& service, const Placement& placement) const {
    test::TestVmmOptions options;
    options.bytes = bytes;
    options.cpu = placement.vmm_cpu;
    options.patience = std::chrono::seconds(0);  // gigabytes take what they take
    return Must(test::ServeVmm(service, 1, options, placement.server_cpu));
  }

  void Report(const std::string& row, const Walked& walked) const {
    table.Add(row, "k pages/s", static_cast<double>(bytes) / 4096 / walked.total_us * 1000);
    table.Add(row, "p50 us", walked.p50_us);
    table.Add(row, "p99 us", walked.p99_us);
  }

  void OnDemand(const Placement& placement) const {
    PageService service = Start(placement.spinners, 1);
    // The second one is attached while the first lives: nothing is recorded yet, all is verified.
    auto first = Serve(service, placement);
    first.vmm.Walk(0, bytes);
    Report(std::string(placement.name) + ", first", TakeWalk(first.vmm));
    auto later = Serve(service, placement);
    later.vmm.Walk(0, bytes);
    Report(std::string(placement.name) + ", later", TakeWalk(later.vmm));
  }

  void AllAtOnce(std::size_t clones) const {
    PageService service = Start(0, 4);
    std::vector<test::ServedVmm> all;
    for (std::size_t i = 0; i < clones; ++i) all.push_back(Serve(service, {"", {}, {}, 0}));
    const auto start = Clock::now();
    for (auto& one : all) one.vmm.Walk(0, bytes);
    for (auto& one : all) TakeWalk(one.vmm);
    const double took = Since(start);
    table.Add(std::to_string(clones) + " at once", "k pages/s",
              static_cast<double>(clones * bytes) / 4096 / took * 1000);
  }

  // 36 MiB of the memory, as a restore touched it (microvm-notes.md), then prefetched.
  void Prefetched() const {
    const std::uint64_t set = std::min<std::uint64_t>(36u << 20, bytes / 2);
    const Placement placement{"", {}, {}, 0};
    {
      PageService service = Start(0, 4);
      auto first = Serve(service, placement);
      first.vmm.Walk(0, set);
      table.Add("36 MiB: first restore, on demand", "us", TakeWalk(first.vmm).total_us);
      first.vmm.Kill();
      Must(first.client.End());
    }
    for (const char* row : {"36 MiB: new server, recorded set", "36 MiB: later, recorded set"}) {
      static std::optional<PageService> service;
      if (std::string_view(row).find("new") != std::string_view::npos) service = Again(0, 4);
      const auto start = Clock::now();
      auto served = Serve(*service, placement);
      table.Add(row, "attached us", Since(start));
      FaultCounters seen;
      while (seen.prefetched_pages + seen.sampled < set / 4096) {
        std::this_thread::yield();
        seen = Must(served.client.ReadCounters());
      }
      table.Add(row, "placed us", Since(start));
      served.vmm.Walk(0, set);
      table.Add(row, "walk us", TakeWalk(served.vmm).total_us);
      table.Add(row, "faults", static_cast<double>(Must(served.client.ReadCounters()).faults));
      if (std::string_view(row).find("later") != std::string_view::npos) {
        served.vmm.Kill();
        service.reset();
      }
    }
  }

  void Plain() const {
    UniqueFd fd(::open(files.base().c_str(), O_RDONLY | O_CLOEXEC));
    for (const bool writes : {false, true}) {
      auto* memory = static_cast<volatile char*>(
          ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd.get(), 0));
      if (memory == MAP_FAILED) Die("mmap");
      const auto start = Clock::now();
      for (std::uint64_t at = 0; at < bytes; at += 4096) {
        if (writes)
          memory[at] = 1;
        else
          (void)memory[at];
      }
      table.Add(writes ? "MAP_PRIVATE, writing" : "MAP_PRIVATE, reading", "k pages/s",
                static_cast<double>(bytes) / 4096 / Since(start) * 1000);
      ::munmap(const_cast<char*>(memory), bytes);
    }
  }

  void Copies() const {
    UniqueFd fd(::open(files.base().c_str(), O_RDONLY | O_CLOEXEC));
    auto* from = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd.get(), 0);
    for (std::uint64_t size = 4096; size <= (2u << 20); size *= 4) {
      UniqueFd uffd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC)));
      auto* to = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      uffdio_api api{};
      api.api = UFFD_API;
      uffdio_register range{};
      range.range = {reinterpret_cast<std::uint64_t>(to), bytes};
      range.mode = UFFDIO_REGISTER_MODE_MISSING;
      if (::ioctl(uffd.get(), UFFDIO_API, &api) != 0 ||
          ::ioctl(uffd.get(), UFFDIO_REGISTER, &range) != 0)
        Die("userfaultfd");
      const auto start = Clock::now();
      for (std::uint64_t at = 0; at < bytes; at += size) {
        uffdio_copy copy{};
        copy.dst = reinterpret_cast<std::uint64_t>(to) + at;
        copy.src = reinterpret_cast<std::uint64_t>(from) + at;
        copy.len = std::min(size, bytes - at);
        if (::ioctl(uffd.get(), UFFDIO_COPY, &copy) != 0) Die("UFFDIO_COPY");
      }
      table.Add("copies of " + std::to_string(size / 1024) + " KiB", "ms", Since(start) / 1000);
      ::munmap(to, bytes);
    }
    ::munmap(from, bytes);
  }

  void Digests() const {
    const LayeredMemory layers = files.OpenLayers();
    const auto start = Clock::now();
    const LeafTable leaves = Must(DigestMemory(layers));
    table.Add("digest of the memory", "ms", Since(start) / 1000);
    const auto again = Clock::now();
    (void)MemoryRoot(leaves.memory_bytes, leaves.leaves);
    table.Add("root of the leaves", "ms", Since(again) / 1000);
  }
};

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t mib = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 256;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 30;
  if (mib == 0 || mib > 4096 || rounds < 1) Die("bench_pages [MIB] [ROUNDS]");
  if (auto probe = ProbeUserfault(); !probe) Die(probe.error().ToString());
  // Beside each other: the host's scheduler, all on one CPU, one each, and one that does not sleep.
  const Placement placements[] = {{"no placement", {}, {}, 0},
                                  {"no placement, spinning", {}, {}, 1},
                                  {"same CPU", 0, 0u, 0},
                                  {"other CPU", 0, 1u, 0},
                                  {"other CPU, spinning", 0, 1u, 1}};
  test::MemoryFiles files(mib * 256, nullptr, test::ServerUid());
  files.Seal();
  Table table;
  const Bench bench{files.bytes(), files, table};
  for (int round = 0; round < rounds; ++round) {
    for (const Placement& placement : placements) bench.OnDemand(placement);
    bench.AllAtOnce(1);
    bench.AllAtOnce(8);
    bench.Prefetched();
    bench.Plain();
    bench.Copies();
    bench.Digests();
  }
  std::printf("%llu MiB, medians of %d\n", static_cast<unsigned long long>(mib), rounds);
  table.Print();
}
