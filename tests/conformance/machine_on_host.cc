#include "conformance/machine_on_host.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "conformance/test_guest_image.h"
#include "writ/backends/microvm/cpio.h"
#include "writ/backends/microvm/erofs.h"
#include "writ/backends/microvm/guest_image.h"
#include "writ/backends/microvm/guest_layout.h"
#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::test {
namespace fs = std::filesystem;
namespace microvm = backends::microvm;
namespace {

constexpr uid_t kJobUid = 1000;
constexpr std::chrono::minutes kBound{4};

[[noreturn]] void GiveUp(const std::string& why) {
  std::fprintf(stderr, "no machine for tests: %s\n", why.c_str());
  std::abort();
}

}  // namespace

Folder::Folder() {
  std::string pattern = "/var/tmp/writ-machine-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) GiveUp("no folder");
  path_ = pattern;
}

Folder::~Folder() {
  fs::remove_all(path_);
}

std::string Folder::Make(const std::string& name) const {
  fs::create_directories(path_ + "/" + name);
  return path_ + "/" + name;
}

std::string MakeInputs(const std::string& folder, const std::string& name,
                       const std::string& bytes) {
  const std::string tree = folder + "/tree-" + name;
  fs::create_directories(tree + "/workspace");
  std::ofstream(tree + "/workspace/" + name, std::ios::binary) << bytes;
  std::string file = folder + "/inputs-" + name;
  if (Status made = microvm::MakeErofs(tree, file, {kJobUid, kJobUid}, microvm::ErofsTimes::kNone);
      !made)
    GiveUp(made.error().ToString());
  return file;
}

MachineParts MakeParts(const std::string& folder) {
  MachineParts parts;
  const auto store = microvm::GuestStore(TestGuestImages());
  auto image = store.Hold("default");
  if (!image) GiveUp(image.error().ToString());
  auto initramfs = ReadFile(image->root + "/" + microvm::kInitramfsName, 512u << 20);
  auto place = OpenDirectory(folder);
  if (!initramfs || !place) GiveUp("no initramfs");
  microvm::Cpio cpio;
  cpio.File(microvm::kTokenFile + 1, 0400, parts.tokens.host + "\n" + parts.tokens.guest + "\n");
  if (!WriteFileAtomic(place->get(), "initramfs", *initramfs + cpio.Take(), 0400))
    GiveUp("no initramfs");
  // Links of our own: the image may be made anew while we run.
  for (const char* name : {microvm::kKernelName, microvm::kRootName})
    fs::copy_file(image->root + "/" + name, folder + "/" + name);
  microvm::MachineSpec& spec = parts.spec;
  spec.memory_bytes = 256u << 20;
  spec.kernel = folder + "/" + microvm::kKernelName;
  spec.initramfs = folder + "/initramfs";
  spec.root = folder + "/" + microvm::kRootName;
  spec.inputs = MakeInputs(folder, "placeholder", "nothing");
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);)
    if (line.starts_with("cpu MHz"))
      spec.tsc_khz = static_cast<std::uint64_t>(std::stod(line.substr(line.find(':') + 1)) * 1000);
  return parts;
}

void Steps::Until(const std::function<bool()>& done) {
  const auto end = microvm::EventLoop::Clock::now() + kBound;
  while (!done()) {
    if (microvm::EventLoop::Clock::now() >= end) {
      ADD_FAILURE() << "nothing happened any more";
      return;
    }
    // Looked at again after each thing that happens; a look without one costs nothing.
    const auto id = loop_.At(microvm::EventLoop::Clock::now() + std::chrono::milliseconds(1),
                             [this] { loop_.Stop(); });
    loop_.Run();
    loop_.Remove(id);
  }
}

Status Steps::Await(const std::function<void(std::function<void(Status)>)>& call) {
  auto answer = std::make_shared<std::optional<Status>>();
  call([answer](Status status) { *answer = std::move(status); });
  Until([answer] { return answer->has_value(); });
  return *answer ? **answer : Status(Error{ErrorKind::kUnavailable, "test.bound", "no answer"});
}

GuestJob::GuestJob(Steps& steps, microvm::GuestTokens tokens, std::string script,
                   std::string workspace)
    : steps_(steps), script_(std::move(script)), workspace_(std::move(workspace)) {
  microvm::GuestClient::Events events;
  events.on_prepared = [this] { client_->Start({{"PATH=/usr/bin:/bin"}}); };
  events.on_started = [] {};
  events.on_refused = [](const microvm::Refused&) {};
  events.on_ended = [this](const microvm::Ended& ended) {
    run_.ended = ended;
    if (!ended.status) {
      run_.lost = "no end of the job: " + ended.reason;
      done_ = true;
      return;
    }
    auto dir = OpenDirectory(workspace_);
    if (!dir) GiveUp("no workspace");
    client_->FetchChanges(std::move(dir).value(), {});
  };
  events.on_changes = [this](Status taken) {
    if (!taken) run_.lost = taken.error().ToString();
    done_ = true;
  };
  events.on_lost = [this](const std::string& why) {
    run_.lost = why;
    done_ = true;
  };
  client_ =
      std::make_unique<microvm::GuestClient>(steps_.loop(), std::move(tokens), std::move(events));
}

void GuestJob::Begin(UniqueFd channel) {
  microvm::JobOrder order;
  order.run_id = "clone";
  order.argv = {"/bin/sh", "-c", script_};
  order.user_name = "job";
  order.merged = true;
  order.limits.term_grace = std::chrono::seconds(10);
  auto out = MakePipe();
  UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (!out || !null) GiveUp("no pipe");
  out_ = std::move(out->read_end);
  watch_ = steps_.loop().Add(out_.get(), POLLIN, [this](short) {
    std::array<char, 4096> buffer{};
    const ssize_t count = ::read(out_.get(), buffer.data(), buffer.size());
    if (count <= 0) return steps_.loop().SetEvents(watch_, 0);
    run_.out.append(buffer.data(), static_cast<std::size_t>(count));
  });
  if (!client_->Begin(std::move(channel), std::move(order),
                      {std::move(out->write_end), std::move(null)}))
    GiveUp("no session");
}

}  // namespace writ::test
