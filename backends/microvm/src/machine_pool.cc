#include "machine_pool.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include "held_clone.h"
#include "writ/base/file.h"
#include "writ/base/log.h"

namespace writ::backends {
namespace {

using std::chrono::milliseconds;

constexpr std::chrono::seconds kLook{5};           // whether there is another snapshot
constexpr std::chrono::seconds kRest{30};          // after one could not be made
constexpr std::uint64_t kKeptFree = 256ull << 20;  // of the host's memory, for everything else

// nullopt: not known.
std::optional<std::uint64_t> AvailableMemory() {
  constexpr std::uint64_t kFileLimit = 1u << 20;
  constexpr std::string_view kLine = "MemAvailable:";
  auto text = ReadFile("/proc/meminfo", kFileLimit);
  const auto at = text ? text->find(kLine) : std::string::npos;
  if (at == std::string::npos) return std::nullopt;
  const auto digits = text->find_first_not_of(' ', at + kLine.size());
  std::uint64_t kib = 0;
  if (digits == std::string::npos ||
      std::from_chars(text->data() + digits, text->data() + text->size(), kib).ec != std::errc())
    return std::nullopt;
  return kib << 10;
}

std::string Mib(std::uint64_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

}  // namespace

MachinePool::MachinePool(const MicrovmBackendOptions& options, std::shared_ptr<PageSupply> pages)
    : options_(options),
      pages_(std::move(pages)),
      uids_(std::make_shared<PoolUids>(options.pool)),
      event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  counts_.wanted = options.pool.count;
  counts_.memory_budget_bytes = options.pool.memory_bytes;
  counts_.max_age_seconds = static_cast<std::uint64_t>(options.pool.max_age.count());
}

MachinePool::~MachinePool() {
  thread_.request_stop();
  (void)::eventfd_write(event_.get(), 1);
  if (thread_.joinable()) thread_.join();
}

void MachinePool::Use(const HostFeatures& features, const Capabilities& capabilities) {
  std::lock_guard lock(mutex_);
  if (!maker_ || !(maker_->capabilities() == capabilities))
    maker_ = std::make_shared<CloneMaker>(options_, pages_, features, capabilities);
  if (!thread_.joinable())
    thread_ = std::jthread([this](const std::stop_token& stop) { Loop(stop); });
  (void)::eventfd_write(event_.get(), 1);
}

void MachinePool::Forget() {
  std::lock_guard lock(mutex_);
  if (!maker_) return;
  // What another one has made is of no use.
  maker_ = std::make_shared<CloneMaker>(options_, pages_, *maker_->found().features,
                                        maker_->capabilities());
  not_before_ = {};
  (void)::eventfd_write(event_.get(), 1);
}

std::optional<MachinePool::Claimed> MachinePool::Claim(const std::string& snapshot) {
  std::optional<Claimed> out;
  Clones dead;  // taken down outside of the lock
  {
    std::lock_guard lock(mutex_);
    asked_[snapshot] = Clock::now();
    const auto too_old = Clock::now() - options_.pool.max_age;
    while (!out) {
      const auto found = std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& clone) {
        return clone->snapshot() == snapshot && clone->maker() == maker_.get() &&
               clone->made() > too_old;
      });
      if (found == waiting_.end()) break;
      std::unique_ptr<HeldClone> clone = std::move(*found);
      waiting_.erase(found);
      counts_.memory_bytes -= clone->size().memory_bytes;
      auto way = MakeSeqpacketPair();
      const bool served = clone->served();
      if (!way || !clone->Answers() || !clone->GiveTo(way->first.get())) {
        ++counts_.discarded;
        dead.push_back(std::move(clone));
        continue;
      }
      const std::string not_served = clone->not_served();
      out = Claimed{std::move(clone), std::move(way->second), std::move(way->first), served,
                    not_served};
    }
    ++(out ? counts_.hits : counts_.misses);
    (void)::eventfd_write(event_.get(), 1);
  }
  return out;
}

WaitingMachines MachinePool::Counts() const {
  std::lock_guard lock(mutex_);
  WaitingMachines out = counts_;
  out.waiting = static_cast<unsigned>(waiting_.size());
  return out;
}

void MachinePool::Loop(const std::stop_token& stop) {
  {
    std::shared_ptr<CloneMaker> maker;
    {
      std::lock_guard lock(mutex_);
      maker = maker_;
    }
    EndLeftClones(options_.pool.dir, *maker->found().features);
  }
  while (!stop.stop_requested()) {
    std::vector<Wanted> wanted = Look();
    Clones useless;
    std::optional<Wanted> next;
    {
      std::lock_guard lock(mutex_);
      wanted_ = std::move(wanted);
      useless = TakeUseless();
      next = Missing();
    }
    useless.clear();
    if (next)
      MakeOne(*next);
    else
      Wait(stop);
  }
  Clones rest;
  std::lock_guard lock(mutex_);
  rest.swap(waiting_);
  counts_.memory_bytes = 0;
  maker_.reset();
}

// The newest of each image and size: what a run of it would start from.
std::vector<MachinePool::Wanted> MachinePool::Look() const {
  std::vector<Wanted> out;
  auto list = microvm::SnapshotStoreOf(options_.images_dir).List();
  if (!list) return out;
  std::set<std::pair<std::string, MachineSize>> seen;
  for (const microvm::SnapshotRecord& record : list->good) {
    const microvm::SnapshotFit& fit = record.manifest.fit;
    Wanted one{record.text(), "sha256:" + fit.image.ToHex(), SizeOf(fit)};
    if (seen.insert({one.image, one.size}).second) out.push_back(std::move(one));
  }
  return out;
}

MachinePool::Clones MachinePool::TakeUseless() {
  Clones out;
  const auto too_old = Clock::now() - options_.pool.max_age;
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const HeldClone& clone = **at;
    bool heard = false;
    for (const int fd : clone.Watched()) {
      pollfd ready{fd, POLLIN, 0};
      heard = heard || ::poll(&ready, 1, 0) != 0;
    }
    const bool newest = std::any_of(wanted_.begin(), wanted_.end(), [&](const Wanted& one) {
      return one.snapshot == clone.snapshot();
    });
    if (!heard && newest && clone.maker() == maker_.get() && clone.made() > too_old) {
      ++at;
      continue;
    }
    counts_.memory_bytes -= clone.size().memory_bytes;
    ++counts_.discarded;
    out.push_back(std::move(*at));
    at = waiting_.erase(at);
  }
  return out;
}

std::optional<MachinePool::Wanted> MachinePool::Missing() {
  std::stable_sort(wanted_.begin(), wanted_.end(), [this](const Wanted& a, const Wanted& b) {
    auto asked = [this](const Wanted& one) {
      const auto found = asked_.find(one.snapshot);
      return found == asked_.end() ? Clock::time_point::min() : found->second;
    };
    return asked(a) > asked(b);
  });
  if (Clock::now() < not_before_) return std::nullopt;
  counts_.trouble.clear();
  for (const Wanted& one : wanted_) {
    const auto have = std::count_if(waiting_.begin(), waiting_.end(), [&](const auto& clone) {
      return clone->snapshot() == one.snapshot;
    });
    if (static_cast<std::uint64_t>(have) >= options_.pool.count) continue;
    if (counts_.memory_bytes + one.size.memory_bytes > options_.pool.memory_bytes) {
      counts_.trouble = "a machine of " + Mib(one.size.memory_bytes) +
                        " more would be over the pool's memory of " +
                        Mib(options_.pool.memory_bytes);
      continue;
    }
    if (auto free = AvailableMemory(); free && *free < one.size.memory_bytes + kKeptFree) {
      counts_.trouble = "the host has " + Mib(*free) + " of memory left, too little for another " +
                        "machine of " + Mib(one.size.memory_bytes);
      continue;
    }
    return one;
  }
  return std::nullopt;
}

void MachinePool::MakeOne(const Wanted& wanted) {
  std::shared_ptr<CloneMaker> maker;
  {
    std::lock_guard lock(mutex_);
    maker = maker_;
  }
  auto made = HeldClone::Make(maker, uids_, options_.pool, wanted.image, wanted.size);
  std::lock_guard lock(mutex_);
  if (!made) {
    not_before_ = Clock::now() + kRest;
    counts_.trouble = made.error().ToString();
    log::Warn("microvm.pool", "a machine cannot be restored ahead of its run",
              {{"why", made.error().ToString()}, {"snapshot", wanted.snapshot}});
    return;
  }
  counts_.memory_bytes += (*made)->size().memory_bytes;
  waiting_.push_back(std::move(made).value());
}

// Until something is heard, something is due, or it is time to look for another snapshot.
void MachinePool::Wait(const std::stop_token& stop) {
  std::vector<pollfd> fds{{event_.get(), POLLIN, 0}};
  auto until = Clock::now() + kLook;
  {
    std::lock_guard lock(mutex_);
    for (const auto& clone : waiting_) {
      until = std::min(until, clone->made() + options_.pool.max_age);
      for (const int fd : clone->Watched()) fds.push_back({::dup(fd), POLLIN, 0});
    }
  }
  const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
  if (!stop.stop_requested())
    (void)::poll(fds.data(), static_cast<nfds_t>(fds.size()),
                 static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 20)));
  for (std::size_t i = 1; i < fds.size(); ++i) ::close(fds[i].fd);
  eventfd_t ignored = 0;
  (void)::eventfd_read(event_.get(), &ignored);
}

}  // namespace writ::backends
