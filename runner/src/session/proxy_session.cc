#include "session/proxy_session.h"

#include "writ/protocol/events.h"

namespace writ::runner {

using protocol::NetworkDecision;

namespace {
constexpr std::size_t kMaxBlockedHosts = 1000;
}

Result<std::unique_ptr<ProxySession>> ProxySession::Configure(
    egress::SpawnedProxy spawned, const egress::ProxyConfig& config, ChainWriter& chain,
    std::function<void(const std::string&)> on_lost,
    std::function<std::string(const std::string&)> redact) {
  std::unique_ptr<ProxySession> session(new ProxySession(chain));
  session->on_lost_ = std::move(on_lost);
  session->redact_ = std::move(redact);
  ProxySession* self = session.get();
  WRIT_ASSIGN(session->process_,
              egress::ProxyProcess::Configure(
                  std::move(spawned), config,
                  [self](const egress::ProxyEvent& event) { self->OnEvent(event); }));
  return session;
}

void ProxySession::OnEvent(const egress::ProxyEvent& event) {
  if (const auto* decision = std::get_if<egress::DecisionEvent>(&event)) {
    Record(decision->host,
           decision->allowed ? NetworkDecision::kAllowed : NetworkDecision::kBlocked);
  } else if (const auto* flow = std::get_if<egress::FlowEvent>(&event)) {
    Flows& sum = flows_[{redact_(flow->host), flow->port, flow->rule_id}];
    ++sum.count;
    sum.up += flow->bytes_up;
    sum.down += flow->bytes_down;
    sum.close_reason = flow->close_reason;
  } else if (const auto* lost = std::get_if<egress::ProxyLost>(&event)) {
    if (on_lost_) on_lost_(lost->why);
  }
}

void ProxySession::RecordRefused(const std::string& host) {
  Record(host, NetworkDecision::kBlocked);
}

void ProxySession::Record(const std::string& host, NetworkDecision decision) {
  const std::string told = redact_(host);
  std::lock_guard lock(mutex_);
  if (decision == NetworkDecision::kBlocked && blocked_hosts_ > kMaxBlockedHosts) return;
  if (!seen_.emplace(told, decision).second) return;
  if (decision == NetworkDecision::kBlocked && ++blocked_hosts_ > kMaxBlockedHosts) {
    chain_.EmitOurs(protocol::events::Finding(
        "network.too_many_hosts", "the job asked for more than " +
                                      std::to_string(kMaxBlockedHosts) +
                                      " hosts that were refused; further ones are only counted"));
    return;
  }
  chain_.Emit(protocol::events::NetworkConnected(told, decision));
}

void ProxySession::Drain() {
  if (!report_) report_ = process_->Stop(std::chrono::seconds(5));
}

const egress::ClosingReport& ProxySession::Stop() {
  if (closed_) return *report_;
  closed_ = true;
  Drain();
  for (const auto& [key, sum] : flows_) {
    const auto& [host, port, rule] = key;
    chain_.EmitOurs(protocol::events::NetworkFlow({.host = host,
                                                   .port = port,
                                                   .rule = rule,
                                                   .decision = NetworkDecision::kAllowed,
                                                   .flows = sum.count,
                                                   .bytes_out = sum.up,
                                                   .bytes_in = sum.down,
                                                   .close_reason = sum.close_reason}));
  }
  const egress::Counters& c = report_->counters;
  protocol::events::NetworkCounters counters;
  counters.flows = c.flows_closed;
  counters.bytes_out = c.bytes_up;
  counters.bytes_in = c.bytes_down;
  counters.blocked = c.denied;
  chain_.EmitOurs(protocol::events::NetworkClosed(counters));
  if (report_->status != egress::ClosingReport::Status::kReconciled) {
    for (const std::string& difference : report_->differences)
      chain_.EmitOurs(protocol::events::Finding("network.unreconciled", difference));
  }
  return *report_;
}

}  // namespace writ::runner
