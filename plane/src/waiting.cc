#include "waiting.h"

#include <algorithm>

namespace writ::plane {
namespace {

using std::chrono::minutes;

constexpr auto kHeardAgain = minutes(1);
constexpr auto kServing = minutes(3);
constexpr std::size_t kMostGroups = 3;

std::string Runners(std::size_t count) {
  return count == 1 ? "1 runner serves it" : std::to_string(count) + " runners serve it";
}

Waiting NoRunner(const std::string& pool, std::size_t enrolled,
                 const std::optional<WallTime>& last_heard) {
  Waiting out{"wait.no_runner", "no runner serves pool " + pool,
              "start one: writ runner start --pool " + pool};
  if (enrolled == 0)
    out.message += ": none has enrolled";
  else
    out.message += ": " + std::to_string(enrolled) +
                   (last_heard ? " enrolled, last heard of at " + FormatRfc3339(*last_heard)
                               : " enrolled, none of which waits for runs");
  return out;
}

// What all runners that serve the pool lack, like answers together.
Waiting NoFit(const std::string& pool, const std::vector<Unmet>& lacks) {
  struct Group {
    const Unmet* unmet;
    std::size_t count = 0;
  };
  std::vector<Group> groups;
  bool one_want = true;
  for (const Unmet& unmet : lacks) {
    one_want = one_want && unmet.want == lacks.front().want;
    auto at = std::find_if(groups.begin(), groups.end(), [&](const Group& group) {
      return group.unmet->want == unmet.want && group.unmet->why == unmet.why;
    });
    if (at == groups.end()) at = groups.insert(groups.end(), Group{&unmet});
    ++at->count;
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [](const Group& a, const Group& b) { return a.count > b.count; });
  Waiting out{"wait.no_fit", "", groups.front().unmet->mend};
  out.message = "no runner of pool " + pool + " offers " +
                (one_want ? lacks.front().want : std::string("all that it asks for")) + ": " +
                Runners(lacks.size());
  const bool alone = groups.size() == 1;
  if (alone && lacks.size() > 1) out.message += lacks.size() == 2 ? ", both say" : ", all say";
  if (alone) {
    out.message += ": " + groups.front().unmet->why;
    return out;
  }
  for (std::size_t i = 0; i < groups.size() && i < kMostGroups; ++i)
    out.message += std::string(i == 0 ? ": " : "; ") + std::to_string(groups[i].count) +
                   " without " + groups[i].unmet->want + " (" + groups[i].unmet->why + ")";
  return out;
}

}  // namespace

Status NoteHeard(Plane::Impl& plane, const RunnerIdentity& runner,
                 const protocol::RunnerCapabilities* can) {
  const WallTime now = plane.clock.Now();
  std::optional<std::string> text;
  if (can != nullptr) text = json::Write(can->ToJson());
  WRIT_ASSIGN(bool stale, plane.store->Read([&](store::Database& db) -> Result<bool> {
    WRIT_ASSIGN(auto row, db.Ask("SELECT heard_at, capabilities FROM runners WHERE runner_id = ?",
                                 runner.runner_id));
    WRIT_ASSIGN(bool any, row.Next());
    if (!any) return false;
    const auto heard = row.OptionalInt(0);
    return !heard || *heard + std::chrono::milliseconds(kHeardAgain).count() <= now.unix_ms ||
           row.OptionalText(1) != text;
  }));
  if (!stale) return {};
  return plane.store->Write([&](store::Database& db) -> Status {
    WRIT_ASSIGN(int noted,
                db.Run("UPDATE runners SET heard_at = ?, capabilities = ? WHERE runner_id = ?",
                       now.unix_ms, text, runner.runner_id));
    (void)noted;
    return {};
  });
}

Result<const WaitReasons::Pool*> WaitReasons::PoolOf(const std::string& name) {
  if (auto known = pools_.find(name); known != pools_.end())
    return static_cast<const Pool*>(&known->second);
  WRIT_ASSIGN(auto rows,
              db_.Ask("SELECT runner_id, capabilities, heard_at, EXISTS (SELECT 1 FROM runs c "
                      "WHERE c.runner_id = r.runner_id AND "
                      "c.status IN ('claimed','provisioning','running')) "
                      "FROM runners r WHERE pool = ? AND revoked_at IS NULL ORDER BY rowid",
                      name));
  Pool pool;
  for (;;) {
    WRIT_ASSIGN(bool row, rows.Next());
    if (!row) break;
    ++pool.enrolled;
    Serving serving{.runner_id = rows.Text(0), .can = std::nullopt, .at_work = rows.Int(3) != 0};
    const auto heard = rows.OptionalInt(2);
    if (heard && (!pool.last_heard || *heard > pool.last_heard->unix_ms))
      pool.last_heard = WallTime{*heard};
    const bool heard_lately = heard && WallTime{*heard} + kServing > now_;
    if (!heard_lately && !(heard && serving.at_work)) continue;
    if (!rows.Null(1)) {
      // What an older version of this plane has taken is not judged by this one.
      auto value = json::Parse(rows.Text(1));
      auto can = value ? protocol::RunnerCapabilities::Parse(*value)
                       : Result<protocol::RunnerCapabilities>(value.error());
      if (can) serving.can = std::move(*can);
    }
    pool.serving.push_back(std::move(serving));
  }
  return static_cast<const Pool*>(&pools_.emplace(name, std::move(pool)).first->second);
}

Result<Waiting> WaitReasons::For(const std::string& run_id, const std::string& pool_name) {
  WRIT_ASSIGN(const Pool* pool, PoolOf(pool_name));
  if (pool->serving.empty()) return NoRunner(pool_name, pool->enrolled, pool->last_heard);
  WRIT_ASSIGN(auto row, db_.Ask("SELECT wants, iif(offered_until > ?1, offered_to, NULL), "
                                "(SELECT runner_id || ': ' || reason FROM declined_offers d WHERE "
                                "d.run_id = runs.run_id AND until + 60000 > ?1 ORDER BY until DESC "
                                "LIMIT 1) FROM runs WHERE run_id = ?2",
                                now_.unix_ms, run_id));
  WRIT_ASSIGN(bool any, row.Next());
  if (!any) return RunNotFound();
  if (!row.Null(1))
    return Waiting{"wait.offered", "it is offered to runner " + row.Text(1) + " at this moment",
                   ""};
  const std::string text = row.Text(0);
  if (auto known = judged_.find({pool_name, text}); known != judged_.end()) {
    if (known->second.code != "wait.no_fit" && !row.Null(2))
      return Waiting{"wait.declined", "it was given back by runner " + row.Text(2), ""};
    return known->second;
  }
  RunWants wants;
  if (!text.empty()) {
    WRIT_ASSIGN(wants, RunWants::FromText(text));
  }
  std::vector<Unmet> lacks;
  std::size_t fit = 0, free_ones = 0;
  for (const Serving& runner : pool->serving) {
    std::optional<Unmet> unmet;
    if (runner.can && !text.empty()) unmet = WhyNot(wants, *runner.can);
    if (unmet) {
      lacks.push_back(std::move(*unmet));
      continue;
    }
    ++fit;
    if (!runner.at_work) ++free_ones;
  }
  const std::string share = std::to_string(fit) + " of " + std::to_string(pool->serving.size());
  Waiting out;
  if (fit == 0)
    out = NoFit(pool_name, lacks);
  else if (free_ones == 0)
    out = {"wait.busy",
           share + " runners of pool " + pool_name + " can take it, and " +
               (fit == 1 ? "it is" : "all are") + " at work",
           ""};
  else
    out = {"wait.turn",
           share + " runners of pool " + pool_name + " can take it: it waits for its turn", ""};
  judged_.emplace(std::pair(pool_name, text), out);
  if (fit != 0 && !row.Null(2))
    return Waiting{"wait.declined", "it was given back by runner " + row.Text(2), ""};
  return out;
}

}  // namespace writ::plane
