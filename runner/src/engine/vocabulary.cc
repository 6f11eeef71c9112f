// What the plane speaks: asked before the first claim, and again from time to time.
#include <algorithm>

#include "engine/engine_impl.h"
#include "writ/base/log.h"

namespace writ::runner {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kPlaneInfoAge{60'000};
constexpr milliseconds kHealthLimit{5'000};

Vocabulary VocabularyOf(const PlaneInfo& info) {
  return info.extended ? Vocabulary::kExtended : Vocabulary::kBase;
}

}  // namespace

Result<Vocabulary> Engine::Impl::AskVocabulary(PlaneClient& plane, std::stop_token stop) {
  bool known = false;
  {
    std::lock_guard lock_state(mutex);
    known = info_known;
    if (known && clock->Monotonic() - info_time < kPlaneInfoAge) return VocabularyOf(info);
  }
  // A plane that has said it once may be in trouble now. Before that nothing is claimed: a run in
  // the wrong vocabulary would have no lease, no cancellation, and a poorer receipt.
  Result<PlaneInfo> asked =
      plane.Health(Deadline::After(*clock, known ? std::min(config.call_timeout, kHealthLimit)
                                                 : config.call_timeout),
                   stop);
  // A plane that never had the call is one without the extension.
  if (!known && !asked && asked.error().kind == ErrorKind::kNotFound) asked = PlaneInfo{};
  std::lock_guard lock_state(mutex);
  if (!asked && !info_known) return std::move(asked).error();
  if (asked) {
    const bool news = !info_known || info.extended != asked->extended;
    info = *asked;
    info_known = true;
    info_time = clock->Monotonic();
    if (news && info.extended)
      log::Info("runner.vocabulary", "the plane has the extension writ.1: runs are leased");
    if (news && !info.extended)
      log::Warn("runner.vocabulary",
                "the plane has no extension: its runs have no lease, and cannot be cancelled while "
                "they are in work");
  }
  return VocabularyOf(info);
}

}  // namespace writ::runner
