// What an attack finds on the host: services to reach, files to take, a process to hit. Each one is
// watched, so that a test can tell that nothing arrived.
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
  // Empties what arrived at the services; the names of those where something did.
  std::vector<std::string> Arrived();
  // What was changed in the directory outside; empty: nothing.
  std::vector<std::string> OutsideChanges() const;
  // Puts the directory outside back into its first state.
  void ResetOutside() const;
  // The directory of the set-uid copy: has to be readable for the job, so that only no_new_privs
  // stands.
  std::string setuid_dir() const { return setuid_dir_; }

 private:
  void MakeServices(int proxy_port);
  void MakeBystander();
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
