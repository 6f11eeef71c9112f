#include "engine/recovery.h"

#include <unistd.h>

#include "engine/offers.h"
#include "session/parked.h"
#include "writ/base/log.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/events.h"

namespace writ::runner {
namespace {

constexpr std::chrono::milliseconds kSupervisorWait{10'000};

std::vector<std::string> EndJob(SessionServices& services, const OpenRun& run) {
  std::vector<std::string> leaks;
  if (run.session_name.empty()) return leaks;
  if (run.session_name != SessionDirs::NameFor(run.claim.run_id.text()))
    return {"directory: the journal names a session that is not this run's"};  // L13
  if (!run.backend.empty()) {
    backends::Identity identity{.uid = getuid(), .gid = getgid()};
    if (services.config.uid_range) {
      uid_t uid = services.config.uid_range->first + run.claim.slot;
      identity = backends::Identity{.uid = uid, .gid = uid};
    }
    Result<backends::Backend*> backend = services.registry.Find(run.backend);
    if (!backend) return {"process: its backend is not there any more"};
    Result<backends::Recovered> recovered = (*backend)->Recover(
        run.claim.run_id.text(), services.sessions_path + "/" + run.session_name + "/job", identity,
        kSupervisorWait);
    if (recovered) {
      for (const backends::Leak& leak : recovered->dismantled.leaks)
        leaks.push_back(leak.kind + ": " + leak.what);
    } else {
      leaks.push_back("process: " + recovered.error().message);
    }
  }
  services.cleaner.Discard(run.session_name);
  return leaks;
}

json::Value CloseReceipt(SessionServices& services, const OpenRun& run, ChainWriter& chain) {
  chain.Emit(protocol::events::RunFailed(
      protocol::FailureClass::kSessionFailed,
      "the runner ended while the run was in work; its job was ended with it"));
  std::vector<protocol::Event> events = chain.Events();
  protocol::Receipt receipt;
  protocol::ReceiptFacts facts;
  facts.runner_id = services.identity.runner_id;
  if (auto pool = protocol::PoolName::Parse(services.config.pool)) facts.pool = *pool;
  Result<protocol::Contract> contract = protocol::Contract::Parse(run.claim.contract);
  Result<protocol::Receipt> made = contract
                                       ? protocol::ReceiptFromEvents(*contract, events, facts)
                                       : Result<protocol::Receipt>(std::move(contract).error());
  if (made) {
    receipt = std::move(*made);
  } else {
    receipt = MinimalReceipt(run.claim.run_id, run.claim.contract, events);
    receipt.runner_id = facts.runner_id;
    receipt.pool = facts.pool;
    receipt.attestation_tier = facts.attestation_tier;
  }
  if (Status ok = protocol::SignAsRunner(receipt, services.identity.key); !ok)
    log::Error("runner.sign", "the receipt could not be signed", {{"code", ok.error().code}});
  return receipt.raw;
}

// Sends everything from the first event of ours on; the plane refuses what it has, so a refusal
// moves on one by one.
Status SendEvents(PlaneClient& plane, const OpenRun& run,
                  const std::vector<protocol::Event>& events, SessionServices& services) {
  Deadline deadline = Deadline::After(services.clock, services.config.call_timeout);
  Error last{.kind = ErrorKind::kConflict,
             .code = "plane.refused",
             .message = "the plane did not take the run's last events"};
  for (std::size_t from = 0; from < events.size(); ++from) {
    std::span<const protocol::Event> rest(events.data() + from, events.size() - from);
    Result<RunSignals> sent =
        plane.AppendEvents(run.claim.run_id, run.claim_token, rest, deadline, {});
    if (sent) return {};
    last = std::move(sent).error();
    if (last.kind == ErrorKind::kUnavailable || last.kind == ErrorKind::kDenied) break;
  }
  return last;
}

void Finish(SessionServices& services, OpenRun run) {
  Result<std::unique_ptr<RunJournal>> journal = services.journal.Resume(run.claim.run_id);
  if (!journal) return;
  if (run.claim.offered) {
    Result<PlaneClient> plane = PlaneClient::Open(services.config.plane, services.clock);
    Result<bool> ours =
        plane ? ResolveOffer(services, *plane, run) : Result<bool>(std::move(plane).error());
    if (!ours) return;  // the journal keeps it: the plane's answer is needed
    if (!*ours) {
      (void)(*journal)->Close();
      return;
    }
    (void)(*journal)->NoteAcknowledged(run.claim.events);
  }
  std::vector<std::string> leaks = EndJob(services, run);
  for (const std::string& leak : leaks)
    log::Error("runner.recovery_leak", "something of an earlier run is left",
               {{"run", run.claim.run_id.text()}, {"what", leak}});
  std::vector<protocol::Event> events = run.events;
  json::Value receipt;
  if (run.receipt) {
    receipt = *run.receipt;
  } else {
    protocol::Digest contract_hash = protocol::HashWithout(run.claim.contract, "signatures");
    protocol::EventChain chain =
        events.empty() ? protocol::EventChain(contract_hash)
                       : protocol::EventChain(protocol::ChainHead{
                             events.back().seq + 1, events.back().hash, events.back().ts});
    ChainWriter writer(services.clock, std::move(chain), events,
                       run.claim.extended ? Vocabulary::kExtended : Vocabulary::kBase, nullptr);
    if (!leaks.empty() || !run.session_name.empty()) {
      if (run.claim.extended) writer.EmitOurs(protocol::events::SessionClosed(leaks, std::nullopt));
    }
    receipt = CloseReceipt(services, run, writer);
    std::vector<protocol::Event> all = writer.Events();
    (void)(*journal)->NoteReceipt(receipt);
    (void)(*journal)->NoteEvents(std::span(all).subspan(events.size()));
    events = std::move(all);
  }
  Result<PlaneClient> plane = PlaneClient::Open(services.config.plane, services.clock);
  Status delivered =
      plane ? SendEvents(*plane, run, events, services) : Status(std::move(plane).error());
  if (delivered || (plane && (delivered.error().kind == ErrorKind::kConflict ||
                              delivered.error().kind == ErrorKind::kInvalid))) {
    Result<std::optional<json::Value>> done = plane->Complete(
        run.claim.run_id, run.claim_token, run.claim.extended ? &services.identity.token : nullptr,
        receipt, Deadline::After(services.clock, services.config.call_timeout), {});
    // A conflict here: the plane has the receipt already, from the process that died.
    delivered = done || done.error().kind == ErrorKind::kConflict ? Status{}
                                                                  : Status(std::move(done).error());
  }
  if (!delivered) {
    json::Array list;
    for (const protocol::Event& event : events) list.push_back(event.ToJson());
    json::Object bundle{
        {"version", protocol::kBundleVersion},
        {"contract", run.claim.contract},
        {"receipt", receipt},
        {"events", std::move(list)},
        {"keys", json::Object{{"planePublicKeyPem", services.plane_key.ToPem()},
                              {"runnerPublicKeyPem", services.identity.key.Public().ToPem()}}}};
    if (Status parked = ParkBundle(services.config.state_dir, run.claim.run_id, std::move(bundle));
        !parked)
      return;  // the journal keeps it
    log::Error("runner.parked",
               "the plane did not take an earlier run's receipt; its bundle is kept under parked/",
               {{"run", run.claim.run_id.text()}, {"code", delivered.error().code}});
  } else {
    log::Info("runner.recovered", "a run that an earlier process left open has its receipt",
              {{"run", run.claim.run_id.text()}});
  }
  (void)(*journal)->Close();
}

}  // namespace

void FinishOpenRuns(SessionServices& services) {
  Result<std::vector<OpenRun>> open = services.journal.FindOpen();
  if (!open) {
    log::Error("runner.journal", "the journal could not be read", {{"code", open.error().code}});
    return;
  }
  for (OpenRun& run : *open) Finish(services, std::move(run));
}

}  // namespace writ::runner
