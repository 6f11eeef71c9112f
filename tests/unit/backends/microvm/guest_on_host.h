// A guest without a machine: the agent as a process of this host, in a mount namespace of its own,
// with a socket pair for its channel. Its jobs are held by the host's kernel as by a guest's.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "writ/backends/microvm/guest_client.h"
#include "writ/base/child.h"

namespace writ::test {

// "" or why an agent cannot run here.
std::string WhyNoAgent();

class GuestOnHost {
 public:
  GuestOnHost();
  ~GuestOnHost();
  GuestOnHost(const GuestOnHost&) = delete;
  GuestOnHost& operator=(const GuestOnHost&) = delete;

  backends::microvm::JobOrder Shell(const std::string& script) const;
  // Writes into the base tree (owned by the guest's job), ahead of Run.
  void WriteBase(const std::string& path, const std::string& bytes);

  // Into the base drive's tree, beneath that one (JobOrder::on_base), and a mark above that hides
  // what it has.
  void WriteBeneath(const std::string& path, const std::string& bytes);
  void HideBeneath(const std::string& path);

  // What a run came to.
  struct Ran {
    std::optional<backends::microvm::Ended> ended;
    std::string out;
    std::string err;
    std::string lost;  // GuestClient::Events::on_lost
    std::string changes_error;
    std::vector<backends::microvm::Refused> refused;
  };
  struct Options {
    bool cancel_at_output = false;
    std::string echo;  // what a connection of the job's is answered
    bool proxied = false;
    // Once the job runs, in the loop's thread.
    std::function<void(backends::microvm::GuestClient&, backends::microvm::EventLoop&)> on_started;
    std::string agent_token;  // what the agent believes its host's token is; empty: the right one
    backends::microvm::TreeLimits limits = {};
  };
  Ran Run(backends::microvm::JobOrder order, const Options& options);
  Ran Run(backends::microvm::JobOrder order) { return Run(std::move(order), Options()); }

  // Where the changes were carried out: a copy of the base tree, on_base of both as one.
  const std::string& workspace() const { return workspace_; }

 private:
  void CopyInput(bool on_base);
  void Write(const std::string& tree, const std::string& path, const std::string& bytes);
  std::string base_;
  std::string workspace_;
};

}  // namespace writ::test
