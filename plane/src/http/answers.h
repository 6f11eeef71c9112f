// How the values of a Plane look on the wire (protocol.md section 4; vectors/http.json).
#pragma once

#include <string>

#include "http/router.h"
#include "writ/plane/lease.h"
#include "writ/plane/types.h"
#include "writ/protocol/reader.h"

namespace writ::plane::http {

Response JsonAnswer(int status, const json::Value& value);
Response RawJsonAnswer(int status, std::string text);  // text that is JSON already
// {error, code, detail?, hint?}: detail is our finer code.
Response ErrorAnswer(int status, std::string_view code, std::string_view sentence);
Response ErrorAnswer(int status, std::string_view code, std::string_view sentence,
                     const Error& error);
Response IssuesAnswer(const json::Issues& issues);
Response ClaimAnswer(const Claim& claim);
Response OfferJsonAnswer(const OfferAnswer& answer);  // one with an offer
Response AcknowledgementAnswer(const Acknowledgement& taken);
json::Value LeaseJson(const LeaseAnswer& lease);
Response SubmissionAnswer(const Submission& submission);
Response RunAnswer(const RunDetail& run);
Response ArtifactsAnswer(const std::vector<ArtifactInfo>& artifacts);
json::Value SummaryJson(const RunSummary& run);
// {actor?} of an approval or a cancellation.
std::optional<Actor> ReadActor(json::Issues& issues, const json::Value& body);
// The seconds in a rate limit's hint.
std::string RetryAfter(const Error& error);

}  // namespace writ::plane::http
