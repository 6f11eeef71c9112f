#include "journal/rows.h"

#include "writ/protocol/bundle.h"

namespace writ::runner {
namespace {

Error Damaged(const char* what) {
  return Error{.kind = ErrorKind::kIntegrity,
               .code = "journal.damaged",
               .message = std::string("the journal's ") + what + " cannot be read"};
}

Result<json::Value> Json(const std::string& text, const char* what) {
  Result<json::Value> value = json::Parse(text);
  if (!value) return Damaged(what);
  return value;
}

Status ReadEvents(sqlite::Database& db, std::int64_t ord, OpenRun& run) {
  // What the plane gave may be nonsense, and the run was refused for it: then our own go on from
  // it.
  if (auto before = protocol::Event::ParseAll(run.claim.events)) run.events = std::move(*before);
  WRIT_ASSIGN(auto row, db.Ask("SELECT body FROM events WHERE ord = ? ORDER BY seq", ord));
  for (;;) {
    WRIT_ASSIGN(bool any, row.Next());
    if (!any) return {};
    WRIT_ASSIGN(json::Value body, Json(row.Text(0), "events"));
    Result<protocol::Event> event = protocol::Event::Parse(body);
    if (!event) return Damaged("events");
    run.events.push_back(std::move(*event));
  }
}

Status ReadUploads(sqlite::Database& db, std::int64_t ord, OpenRun& run) {
  WRIT_ASSIGN(auto row, db.Ask("SELECT kind, data_class, hash, bytes, uploaded, path FROM uploads "
                               "WHERE ord = ? ORDER BY n",
                               ord));
  for (;;) {
    WRIT_ASSIGN(bool any, row.Next());
    if (!any) return {};
    auto kind = protocol::ParseArtifactKind(row.Text(0));
    auto digest = protocol::Digest::Parse(row.Text(2));
    if (!kind || !digest) return Damaged("uploads");
    run.uploads.push_back(JournalUpload{*kind, row.Text(1), *digest,
                                        static_cast<std::uint64_t>(row.Int(3)), row.Int(4) != 0,
                                        row.Text(5)});
  }
}

}  // namespace

Result<OpenRun> ReadRun(sqlite::Database& db, std::int64_t ord) {
  OpenRun run;
  {
    WRIT_ASSIGN(
        auto row,
        db.Ask("SELECT r.run_id, r.claimed_at, r.extended, r.slot, r.contract, "
               "r.plane_events, p.claim_token, p.step, p.step_done, p.step_at, p.session, "
               "p.backend, p.leftovers, p.output_bytes, p.sent, p.in_doubt, p.offered, p.state "
               "FROM runs r JOIN progress p USING (ord) WHERE ord = ?",
               ord));
    WRIT_ASSIGN(bool any, row.Next());
    if (!any) return Damaged("rows");
    auto run_id = protocol::RunId::Parse(row.Text(0));
    if (!run_id) return Damaged("run ids");
    run.claim.run_id = *run_id;
    run.claimed_at = WallTime{row.Int(1)};
    run.claim.extended = row.Int(2) != 0;
    run.claim.slot = static_cast<unsigned>(row.Int(3));
    WRIT_ASSIGN(run.claim.contract, Json(row.Text(4), "contract"));
    WRIT_ASSIGN(run.claim.events, Json(row.Text(5), "events of the plane"));
    std::string token = row.Text(6);
    run.claim_token = Secret::Consume(token);
    run.step = row.Text(7);
    run.step_phase = row.Int(8) != 0 ? StepPhase::kDone : StepPhase::kBegun;
    run.step_at = WallTime{row.Int(9)};
    run.place = {run.claim.run_id, run.claim.slot, row.Text(10), row.Text(11), row.Text(12)};
    run.output_bytes = static_cast<std::uint64_t>(row.Int(13));
    run.delivery =
        ChainDelivery{static_cast<std::size_t>(row.Int(14)), static_cast<std::size_t>(row.Int(15))};
    run.claim.offered = row.Int(16) != 0;
    run.waiting = row.Text(17) == "waiting";
  }
  WRIT_TRY(ReadEvents(db, ord, run));
  WRIT_TRY(ReadUploads(db, ord, run));
  WRIT_ASSIGN(auto started, db.Value("SELECT body FROM starts WHERE ord = ?", ord));
  if (started) {
    WRIT_ASSIGN(run.started, Json(*started, "start"));
  }
  WRIT_ASSIGN(auto ending, db.Value("SELECT body FROM endings WHERE ord = ?", ord));
  if (ending) {
    WRIT_ASSIGN(run.ending, Json(*ending, "ending"));
  }
  WRIT_ASSIGN(auto row,
              db.Ask("SELECT body, plane_key, runner_key FROM receipts WHERE ord = ?", ord));
  WRIT_ASSIGN(bool any, row.Next());
  if (any) {
    WRIT_ASSIGN(run.receipt, Json(row.Text(0), "receipt"));
    run.keys = BundleKeyTexts{row.Text(1), row.Text(2)};
  }
  return run;
}

Result<std::vector<JobPlace>> ReadLeft(sqlite::Database& db) {
  std::vector<JobPlace> left;
  WRIT_ASSIGN(auto row, db.Ask("SELECT run_id, slot, session, backend, leftovers FROM left_behind "
                               "ORDER BY run_id"));
  for (;;) {
    WRIT_ASSIGN(bool any, row.Next());
    if (!any) return left;
    auto run_id = protocol::RunId::Parse(row.Text(0));
    if (!run_id) return Damaged("run ids");
    left.push_back(
        {*run_id, static_cast<unsigned>(row.Int(1)), row.Text(2), row.Text(3), row.Text(4)});
  }
}

json::Value BundleOf(const OpenRun& run) {
  json::Array list;
  list.reserve(run.events.size());
  for (const protocol::Event& event : run.events) list.push_back(event.ToJson());
  return json::Object{{"version", protocol::kBundleVersion},
                      {"contract", run.claim.contract},
                      {"receipt", *run.receipt},
                      {"events", std::move(list)},
                      {"keys", json::Object{{"planePublicKeyPem", run.keys.plane_pem},
                                            {"runnerPublicKeyPem", run.keys.runner_pem}}}};
}

}  // namespace writ::runner
