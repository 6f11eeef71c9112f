#include "engine/leftovers.h"

#include <unistd.h>

#include "writ/base/log.h"

namespace writ::runner {
namespace {

constexpr std::chrono::milliseconds kSupervisorWait{10'000};

std::string Describe(const backends::Outcome& outcome) {
  std::string text(backends::OutcomeKindName(outcome.kind));
  if (outcome.status) text += " with " + std::to_string(outcome.status->ShellCode());
  return text;
}

// `uid`: what the job had, where it is known.
LastFacts End(SessionServices& services, const JobPlace& place, std::optional<uid_t>& uid) {
  LastFacts facts;
  if (place.backend.empty()) return facts;
  const std::string name = SessionDirs::NameFor(place.run_id.text());
  if (place.session_name != name) {
    facts.leaks.push_back("directory: the journal names a session that is not this run's");  // L13
    return facts;
  }
  backends::LeftJob left{.run_id = place.run_id.text(),
                         .session_dir = services.sessions_path + "/" + name + "/job",
                         .identity = {.uid = getuid(), .gid = getgid()},
                         .leftovers = place.leftovers};
  if (services.config.uid_range) {
    const uid_t of_slot = services.config.uid_range->first + place.slot;
    left.identity = {.uid = of_slot, .gid = of_slot};
  }
  Result<backends::Backend*> backend = services.registry.Find(place.backend);
  if (!backend) {
    facts.leaks.push_back("process: its backend is not there any more");
    return facts;
  }
  Result<backends::Recovered> recovered = (*backend)->Recover(left, kSupervisorWait);
  if (!recovered) {
    facts.leaks.push_back("process: " + recovered.error().message);
    return facts;
  }
  uid = recovered->uid;
  for (const backends::Leak& leak : recovered->dismantled.leaks)
    facts.leaks.push_back(leak.kind + ": " + leak.what);
  if (!recovered->dismantled.tree_dead_verified && facts.leaks.empty())
    facts.leaks.push_back("process: it could not be verified that the job's tree is dead");
  if (recovered->outcome) facts.job = Describe(*recovered->outcome);
  return facts;
}

}  // namespace

LastFacts EndJob(SessionServices& services, const JobPlace& place, SlotsOut& out) {
  std::optional<uid_t> uid;
  LastFacts facts = End(services, place, uid);
  if (facts.leaks.empty()) return facts;
  for (const std::string& leak : facts.leaks)
    log::Error("runner.recovery_leak", "something of an earlier run is left",
               {{"run", place.run_id.text()}, {"what", leak}});
  services.bus.Publish(LeaksFound{RunRef{place.run_id.text(), place.slot}, facts.leaks.size()});
  // Another slot may have its uid now.
  const auto& range = services.config.uid_range;
  for (const std::uint64_t slot :
       {std::uint64_t{place.slot}, range && uid && *uid >= range->first
                                       ? std::uint64_t{*uid - range->first}
                                       : std::uint64_t{place.slot}}) {
    if (slot >= services.config.slots || !out.insert(static_cast<unsigned>(slot)).second) continue;
    log::Error("runner.slot_out_of_service",
               "a slot is not used: something of an earlier run is left in it",
               {{"slot", slot}, {"run", place.run_id.text()}});
  }
  return facts;
}

void LookAgain(SessionServices& services, SlotsOut& out) {
  Result<std::vector<JobPlace>> left = services.journal.Left();
  if (!left) {
    log::Error("runner.journal", "the journal could not be read", {{"code", left.error().code}});
    return;
  }
  for (const JobPlace& place : *left) {
    if (!EndJob(services, place, out).leaks.empty()) continue;
    log::Info("runner.recovered", "nothing is left any more of an earlier run",
              {{"run", place.run_id.text()}});
    if (Status forgotten = services.journal.ForgetLeft(place.run_id); !forgotten)
      log::Warn("runner.journal", "that nothing is left could not be noted: it is looked at again",
                {{"run", place.run_id.text()}, {"code", forgotten.error().code}});
  }
}

}  // namespace writ::runner
