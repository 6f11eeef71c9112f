#include "run_follow.h"

#include <memory>
#include <utility>

#include "embedded.h"
#include "home.h"
#include "watch.h"
#include "writ/base/paths.h"

namespace writ::cli {

void ReportRefusal(Context& context, const Access& access, const plane::Submission& submission) {
  bool denied = submission.kind == plane::Submission::Kind::kDenied;
  const std::vector<std::string>& reasons = denied ? submission.reasons : submission.issues;
  Error error{denied ? ErrorKind::kDenied : ErrorKind::kInvalid,
              denied ? "policy_denied" : "bad_request",
              denied ? "policy denied the run" : "the plane refused the request",
              denied ? "ask for less (--timeout, --max-spend, --secret, --allow-host, --agent, "
                       "--pool), or let an administrator change the policy; see it with: " +
                           context.Command("policy show" + access.Arguments())
              : !reasons.empty() && reasons.front().starts_with("request.secretNames.")
                  ? "leave that --secret out, or let an administrator of the plane set it: "
                    "`writ secrets set --help`"
                  : "see `writ run --help`"};
  for (std::size_t i = 0; i < reasons.size(); ++i)
    error.message += (i == 0 ? ": " : "; ") + reasons[i];
  context.Fail(denied ? kPolicyDenied : kUsage, error);
}

void FollowRun(Context& context, const plane::Submission& accepted, const FollowedRun& run) {
  const std::string& run_id = accepted.run_id;
  context.run_id = run_id;
  context.Note("run " + run_id);
  bool waiting = accepted.status == plane::RunState::kAwaitingApproval;
  if (!run.watch && !waiting) {
    if (context.json)
      context.PrintJson(json::Object{{"runId", run_id},
                                     {"status", std::string(protocol::Word(accepted.status))}});
    context.Print(run_id + "\n");
    return;
  }
  std::unique_ptr<Embedded> embedded;
  if (run.access.local() && !waiting) {
    auto started = Embedded::Start({.dir = context.dir,
                                    .pool = run.pool,
                                    .only_run = run_id,
                                    .allow_access = run.allow_access},
                                   *run.access.plane(), run.access.clock());
    if (!started) {
      // Nobody serves it now: left waiting, the next `writ run` of this directory would execute it.
      if (auto cancelled = run.requester.Cancel(run_id, std::nullopt); !cancelled)
        context.NoteError("the run stays queued", cancelled.error());
      return context.Fail(kFailed, started.error());
    }
    embedded = std::move(*started);
  }
  NextSteps next{.access = run.access.Arguments(), .repository = ""};
  if (run.repository != ".") next.repository = AbsolutePath(run.repository);
  context.exit_code =
      WatchRun(context, run.requester, run.access.clock(), run_id,
               {OnInterrupt::kCancelRun, std::move(next), run.reconnect, embedded.get()});
}

}  // namespace writ::cli
