// ProxySession: a session's egress proxy and what it tells: decisions into the chain as they
// happen, flows as sums at the end.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "session/chain_writer.h"
#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/egress/proxy_process.h"

namespace writ::runner {

class ProxySession {
 public:
  // Does not wait. `on_lost` is called from the proxy's thread when the proxy dies by itself.
  static Result<std::unique_ptr<ProxySession>> Configure(
      egress::SpawnedProxy spawned, const egress::ProxyConfig& config, ChainWriter& chain,
      std::function<void(const std::string& why)> on_lost,
      std::function<std::string(const std::string&)> redact);

  Status AwaitReady() { return process_->AwaitReady(); }
  Status AddListener(UniqueFd listener, egress::ListenerReach reach) {
    return process_->AddListener(std::move(listener), reach);
  }
  // A connection that the kernel refused: recorded like the proxy's own refusals (L25). Called by
  // the watching thread.
  void RecordRefused(const std::string& host);
  // Ends the proxy process; every decision it made stands in the chain then. Called when the job's
  // tree is dead and before its exit is recorded, so that the chain has the order of what happened.
  void Drain();
  // Drains, writes network.flow and network.closed. Once.
  const egress::ClosingReport& Stop();
  const std::optional<egress::ClosingReport>& report() const { return report_; }

 private:
  explicit ProxySession(ChainWriter& chain) : chain_(chain) {}
  void OnEvent(const egress::ProxyEvent& event);
  // One network.connected per distinct (host, decision). A job can ask for as many hosts as it
  // likes: past kMaxBlockedHosts blocked ones a finding says so once, and only network.closed
  // counts on.
  void Record(const std::string& host, protocol::NetworkDecision decision);
  struct Flows {
    std::uint64_t count = 0, up = 0, down = 0;
    std::string close_reason;
  };
  ChainWriter& chain_;
  std::function<void(const std::string&)> on_lost_;
  std::function<std::string(const std::string&)> redact_;  // a secret can be asked for as a name
  std::mutex mutex_;  // guards seen_: proxy thread and watching thread
  std::set<std::pair<std::string, protocol::NetworkDecision>> seen_;
  std::size_t blocked_hosts_ = 0;
  std::map<std::tuple<std::string, std::uint16_t, std::string>, Flows>
      flows_;  // proxy thread, then the owner
  std::unique_ptr<egress::ProxyProcess> process_;
  std::optional<egress::ClosingReport> report_;
  bool closed_ = false;  // network.closed is written
};

}  // namespace writ::runner
