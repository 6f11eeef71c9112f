// Runs one job through the Backend interface in directories of its own and tells all about it.
//
// As root every fixture has a job uid that no other process of the host has (made from our pid), as
// an ordinary user the jobs have our own. The directories lie below /var/tmp, because HOME must not
// be below /tmp and the job's uid must be able to reach them.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "writ/backends/backend.h"

namespace writ::test {

struct Chunk {
  backends::Stream stream;
  std::string bytes;
};

struct JobRun {
  Status started;
  backends::Outcome outcome;
  std::string out;  // as the sink had it; a gap is not marked here
  std::string err;
  std::vector<Chunk> chunks;
  std::uint64_t gap_out = 0;  // OnLeftOut
  std::uint64_t gap_at_out = 0;
  backends::Dismantled dismantled;
};

class Collector final : public backends::OutputSink {
 public:
  explicit Collector(JobRun& run) : run_(run) {}
  void OnOutput(backends::Stream stream, std::string_view bytes,
                std::chrono::nanoseconds when) override;
  void OnLeftOut(backends::Stream stream, std::uint64_t bytes) override;

 private:
  JobRun& run_;
};

class JobFixture {
 public:
  JobFixture();
  ~JobFixture();
  JobFixture(const JobFixture&) = delete;
  JobFixture& operator=(const JobFixture&) = delete;

  backends::Plan MakePlan(std::vector<std::string> argv) const;
  backends::Plan Shell(const std::string& script) const {
    return MakePlan({"/bin/sh", "-c", script});
  }
  JobRun Run(backends::Backend& backend, backends::Plan plan,
             const backends::WatchOptions& options = {}) const;

  // The tier that plans ask for from now on (at first the process tier).
  void Use(const backends::Backend& backend) { tier_ = backend.GetTier(); }

  // Copies a program of ProgramsDir into the workspace, executable for the job; its path from
  // there.
  std::string Install(const std::string& program) const;
  void WriteWorkspaceFile(const std::string& name, const std::string& bytes) const;
  std::string ReadWorkspaceFile(const std::string& name) const;  // "" where it is absent

  const std::string& workspace() const { return workspace_; }
  const std::string& session_dir() const { return session_; }
  const std::string& base() const { return base_; }
  backends::Identity identity() const { return identity_; }
  const std::string& run_id() const { return run_id_; }

  // What is left of the job on this host, one line each: processes of its uid (as root), cgroups,
  // private directories. Empty is what every test expects.
  std::vector<std::string> LeftBehind() const;

 private:
  std::string base_;
  std::string workspace_;
  std::string session_;
  std::string run_id_;
  backends::Tier tier_ = backends::Tier::kProcess;
  backends::Identity identity_;
};

// Where the programs are that jobs of tests run: beside this one, unless it was set.
const std::string& ProgramsDir();
void SetProgramsDir(const std::string& dir);

// own_backends.cc: a backend of this tree by its name, with the programs of this build.
std::unique_ptr<backends::Backend> MakeBackend(const std::string& name);
// "" or why tests that run jobs cannot be run here (the build folder cannot be reached, ...).
std::string WhyNoJobs(const std::string& backend = "process");

}  // namespace writ::test
