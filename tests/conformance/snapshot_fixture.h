// A machine under a monitor of this host on its way to a snapshot.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "conformance/machine_on_host.h"
#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/protocol/digest.h"

namespace writ::test {

using namespace backends::microvm;

inline std::string SaidByVersion(const std::string& program) {
  auto pipe = MakePipe();
  SpawnOptions spawn;
  spawn.path = program;
  spawn.argv = {program, "--version"};
  if (!pipe) return {};
  spawn.fds = {{pipe->write_end.get(), 1}};
  auto child = Child::Spawn(spawn);
  pipe->write_end.reset();
  auto said = ReadAll(pipe->read_end.get(), 1u << 20);
  return said ? *said : std::string();
}

inline std::string DigestOf(const std::string& file) {
  auto bytes = ReadFile(file, 1u << 30);
  return bytes ? protocol::Sha256(*bytes).ToHex() : "unreadable";
}

struct Monitor {
  VmmKind kind;
  std::unique_ptr<Vmm> (*make)(EventLoop&);
  const char* variable;  // the program's, and the start of others' names
};
inline const Monitor kQemu{VmmKind::kQemu, MakeQemu, "WRIT_QEMU"};
inline const Monitor kFirecracker{VmmKind::kFirecracker, MakeFirecracker, "WRIT_FIRECRACKER"};
inline const Monitor kCloudHypervisor{VmmKind::kCloudHypervisor, MakeCloudHypervisor,
                                      "WRIT_CLOUD_HYPERVISOR"};

inline std::string FromEnvironment(const std::string& name, const std::string& otherwise) {
  const char* value = std::getenv(name.c_str());
  return value != nullptr && *value != '\0' ? value : otherwise;
}

// A machine that was booted, made quiet, and stands still.
class Snapshots : public testing::Test {
 protected:
  void SetUp() override { Use(kQemu); }

  void Use(const Monitor& monitor) {
    monitor_ = monitor;
    const bool qemu = monitor.kind == VmmKind::kQemu;
    const std::string program =
        FromEnvironment(monitor.variable, qemu ? "/usr/bin/qemu-system-x86_64" : "");
    if (::access(program.c_str(), X_OK) != 0)
      GTEST_SKIP() << "there is no " << VmmName(monitor.kind) << " (set " << monitor.variable
                   << ")";
    parts_ = MakeParts(folder_.path());
    MachineSpec& spec = parts_.spec;
    spec.vmm = program;
    auto version = JudgeVmmVersion(monitor.kind, SaidByVersion(program));
    ASSERT_TRUE(version) << version.error().ToString();
    spec.version = *version;
    const std::string prefix = monitor.variable;
    spec.kernel = FromEnvironment(prefix + "_KERNEL", spec.kernel);
    spec.root = FromEnvironment(prefix + "_ROOT", spec.root);
    if (!qemu) spec.acceleration = Acceleration::kKvm;
    if (monitor.kind == VmmKind::kCloudHypervisor) spec.inputs.clear();
  }

  // Of a machine of its own.
  MachineSpec SpecOf(const std::string& name) const {
    MachineSpec spec = parts_.spec;
    spec.place = folder_.Make("at-" + name);
    return spec;
  }

  std::unique_ptr<Vmm> Boot() {
    auto vmm = monitor_.make(steps_.loop());
    const MachineSpec spec = SpecOf("source");
    Status booted = steps_.Await([&](auto done) {
      vmm->Boot(
          spec, [this](const MachineEnd& end) { ended_.push_back(end); }, done);
    });
    EXPECT_TRUE(booted) << booted.error().ToString();
    return vmm;
  }

  // Its agent has no open stream after this. The channel is kept.
  UniqueFd Quiesce(Vmm& vmm) {
    UniqueFd channel;
    vmm.Connect([&](Result<UniqueFd> got) { channel = std::move(got).value(); });
    steps_.Until([&] { return channel.valid() || !ended_.empty(); });
    if (!ended_.empty()) ADD_FAILURE() << ended_[0].text;
    if (!channel) return channel;
    UniqueFd kept(::fcntl(channel.get(), F_DUPFD_CLOEXEC, 0));
    bool quiet = false;
    std::string lost;
    GuestClient::Events events;
    events.on_lost = [&](const std::string& why) { lost = why; };
    GuestClient client(steps_.loop(), parts_.tokens, std::move(events));
    EXPECT_TRUE(client.BeginQuiesce(std::move(channel), {.on_quiesced = [&] { quiet = true; }}));
    steps_.Until([&] { return quiet || !lost.empty() || !ended_.empty(); });
    EXPECT_EQ(lost, "");
    return kept;
  }

  Status Take(Vmm& vmm, const std::string& directory, AfterSnapshot after) {
    return steps_.Await([&](auto done) {
      vmm.Snapshot({directory, SnapshotKind::kFull, after}, done);
    });
  }

  std::string MakeSnapshot() {
    auto vmm = Boot();
    UniqueFd kept = Quiesce(*vmm);
    EXPECT_TRUE(steps_.Await([&](auto done) { vmm->Pause(done); }));
    std::string directory = folder_.Make("snapshot");
    Status taken = Take(*vmm, directory, AfterSnapshot::kSpent);
    EXPECT_TRUE(taken) << taken.error().ToString();
    return directory;
  }

  Monitor monitor_ = kQemu;
  Folder folder_;
  Steps steps_;
  MachineParts parts_;
  std::vector<MachineEnd> ended_;
};

}  // namespace writ::test
