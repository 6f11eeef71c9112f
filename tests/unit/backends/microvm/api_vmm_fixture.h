// The drivers of Firecracker and Cloud Hypervisor against servers that we wrote from their
// published APIs (fake_monitor.cc): each request that was made is held against the description.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "support/places.h"
#include "support/shared_dir.h"
#include "unit/backends/microvm/api_description.h"
#include "writ/backends/microvm/vmm.h"
#include "writ/base/file.h"

namespace writ::test {

namespace fs = std::filesystem;
using namespace backends::microvm;

struct ApiMonitor {
  std::string name;
  VmmVersion version;
  std::unique_ptr<Vmm> (*make)(EventLoop&);
  std::string description;
};
struct Request {
  std::string line;  // METHOD PATH
  int status = 0;
  json::Value body;
};

class ApiVmms : public testing::Test {
 protected:
  explicit ApiVmms(ApiMonitor monitor) : monitor_(std::move(monitor)) {
    std::string pattern = "/tmp/writ-vmm-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    spec_.place = pattern;
    spec_.vmm = BinDir() + "/fake_monitor";
    spec_.version = monitor_.version;
    spec_.acceleration = Acceleration::kKvm;
    spec_.memory_bytes = 128u << 20;
    spec_.kernel = "/k";
    spec_.initramfs = "/i";
    spec_.root = "/r";
    vmm_ = monitor_.make(loop_);
  }
  ~ApiVmms() override {
    vmm_.reset();
    ExpectDescribed();
    fs::remove_all(spec_.place);
  }

  void Behave(const std::string& words) { std::ofstream(spec_.place + "/behave") << words; }
  std::string Read(const std::string& name) const {
    auto text = ReadFile(spec_.place + "/" + name, 64u << 20);
    return text ? *text : "";
  }
  std::vector<Request> Requests() const {
    std::vector<Request> out;
    std::istringstream lines(Read("requests"));
    std::string method;
    std::string path;
    int status = 0;
    for (std::string body; lines >> method >> path >> status && std::getline(lines, body);) {
      auto parsed = json::Parse(body.substr(1));
      out.push_back({method + " " + path, status, parsed ? *parsed : json::Value()});
    }
    return out;
  }
  std::vector<std::string> Lines() const {
    std::vector<std::string> out;
    for (const Request& one : Requests()) out.push_back(one.line);
    return out;
  }
  void ExpectDescribed() const {
    const std::string file = SharedDir() + "/testdata/" + monitor_.description;
    auto text = ReadFile(file, 4u << 20);
    if (!text) return;  // api_requests_test.cc says so
    const ApiDescription api(ReadYaml(*text));
    for (const Request& one : Requests()) {
      if (one.status >= 400) continue;
      const auto space = one.line.find(' ');
      EXPECT_EQ(
          api.WhyNot(one.line.substr(0, space), one.line.substr(space + 1), one.body, one.status),
          "");
    }
  }

  void Until(const std::function<bool()>& done) {
    const auto end = EventLoop::Clock::now() + std::chrono::seconds(60);
    while (!done() && EventLoop::Clock::now() < end) {
      loop_.At(EventLoop::Clock::now() + std::chrono::milliseconds(1), [this] { loop_.Stop(); });
      loop_.Run();
    }
    EXPECT_TRUE(done()) << "nothing happened any more";
  }
  using Call = std::function<void(Vmm::Done)>;
  std::string Await(const Call& call) {
    auto told = std::make_shared<std::optional<std::string>>();
    call([told](Status status) { *told = status ? "done" : status.error().ToString(); });
    Until([told] { return told->has_value(); });
    return told->value_or("nothing");
  }
  Vmm::OnEnd End() {
    return [this](const MachineEnd& end) { ends_.push_back(end); };
  }
  std::string Boot() {
    return Await([this](auto done) { vmm_->Boot(spec_, End(), done); });
  }
  std::string Restore(MemorySource memory, AfterRestore after) {
    RestoreOrder order{spec_.place + "/snapshot", std::move(memory), after};
    return Await([&](auto done) { vmm_->Restore(spec_, order, End(), done); });
  }
  std::string Pause() {
    return Await([this](auto done) { vmm_->Pause(done); });
  }
  std::string Resume() {
    return Await([this](auto done) { vmm_->Resume(done); });
  }
  std::string Snapshot(SnapshotKind kind = SnapshotKind::kFull) {
    fs::create_directory(spec_.place + "/snapshot");
    SnapshotOrder order{spec_.place + "/snapshot", kind, AfterSnapshot::kPaused};
    return Await([&](auto done) { vmm_->Snapshot(order, done); });
  }
  std::string PutBase() {
    return Await([this](auto done) { vmm_->PutBase("/other", done); });
  }
  std::string PutInputs() {
    return Await([this](auto done) { vmm_->PutInputs("/other", done); });
  }
  std::string Echo() {
    UniqueFd channel;
    vmm_->Connect([&](Result<UniqueFd> got) {
      EXPECT_TRUE(got);
      if (got) channel = std::move(got).value();
    });
    Until([&] { return channel.valid(); });
    ::fcntl(channel.get(), F_SETFL, 0);
    (void)!::write(channel.get(), " and more", 9);
    std::string out;
    char buffer[64];
    while (out.size() < 14) {
      const ssize_t count = ::read(channel.get(), buffer, sizeof buffer);
      if (count <= 0) break;
      out.append(buffer, static_cast<std::size_t>(count));
    }
    return out;
  }

  const ApiMonitor monitor_;
  EventLoop loop_;
  MachineSpec spec_;
  std::unique_ptr<Vmm> vmm_;
  std::vector<MachineEnd> ends_;
};

}  // namespace writ::test
