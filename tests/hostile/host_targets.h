// What an attack finds on the host: services to reach, files to take, a process to hit, settings to
// change. Each one is watched, so that a test can tell that nothing arrived.
#pragma once

#include <string>
#include <vector>

#include "conformance/job_fixture.h"
#include "writ/backends/plan.h"
#include "writ/base/child.h"
#include "writ/base/unique_fd.h"

namespace writ::test {

class HostTargets {
 public:
  HostTargets(const JobFixture& job, int proxy_port);
  ~HostTargets();
  HostTargets(const HostTargets&) = delete;
  HostTargets& operator=(const HostTargets&) = delete;

  // As variables of the attack's environment. VICTIM is the bystander, or what `victim` says.
  std::vector<backends::Variable> Variables(const std::string& victim = "") const;
  // Another bystander: an attack may have ended or marked the last one.
  void MakeBystander();
  // Empties what arrived at the services; the names of those where something did.
  std::vector<std::string> Arrived();
  // What was changed in the directory outside; empty: nothing.
  std::vector<std::string> OutsideChanges() const;
  // Puts the directory outside back into its first state.
  void ResetOutside() const;
  // What decides over the whole host, as text; two of them are compared.
  static std::string HostSettings();
  // Processes of this host under that name (comm), or started with it as MARK in their environment.
  static std::vector<pid_t> ProcessesMarked(const std::string& mark);

 private:
  void MakeServices(int proxy_port);
  void MakeStateOfTheRunner();
  void MakeSetUidCopy();

  const JobFixture& job_;
  int tcp_port_ = 0;
  int tcp6_port_ = 0;
  int udp_port_ = 0;
  int proxy_port_ = 0;
  std::string abstract_name_;
  std::string outside_;
  std::string setuid_dir_;
  struct Service {
    std::string name;
    UniqueFd socket;
    bool stream = true;
  };
  std::vector<Service> services_;
  Child bystander_;  // a process of the job's uid that is not part of the job
};

}  // namespace writ::test
