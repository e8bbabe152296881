// Shows a list, records a click on it, and reads an error: backend USER RANKER SESSION SERVICE_CONFIG
// [AUTHORITIES TOKEN].
#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "groundswell/ranker/v1/ranker_service.grpc.pb.h"
#include "groundswell/session/v1/session_service.grpc.pb.h"

namespace common = groundswell::common::v1;
namespace ranker = groundswell::ranker::v1;
namespace session = groundswell::session::v1;

// Prints what is known of an error; for 0 to 16 the names of the statuses.
void explain(const grpc::Status& error) {
  google::rpc::Status status;
  status.ParseFromString(error.error_details());
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad;
  google::rpc::RetryInfo retry;
  for (const auto& detail : status.details()) {
    detail.UnpackTo(&info) || detail.UnpackTo(&bad) || detail.UnpackTo(&retry);
  }
  std::string fields;
  for (const auto& violation : bad.field_violations()) fields += violation.field();
  std::cout << "error: " << error.error_code() << " " << info.reason() << " " << fields << " "
            << google::protobuf::util::TimeUtil::DurationToMilliseconds(retry.retry_delay()) / 1000.0
            << "s\n";
}

std::string text_of(const char* path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

int main(int argc, char** argv) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(text_of(argv[4]));  // the retries
  auto credentials = grpc::InsecureChannelCredentials();  // of this machine alone
  if (argc > 6) {
    credentials = grpc::CompositeChannelCredentials(grpc::SslCredentials({text_of(argv[5]), "", ""}),
                                                    grpc::AccessTokenCredentials(argv[6]));
  }
  const auto open = [&](const char* address) {
    return grpc::CreateCustomChannel(address, credentials, arguments);
  };
  const auto recommender = ranker::RankerService::NewStub(open(argv[2]));
  const auto recorder = session::SessionService::NewStub(open(argv[3]));
  const auto recommend = [&](int page_size, ranker::RecommendResponse* answer) {
    grpc::ClientContext context;  // one for each call
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(2));
    ranker::RecommendRequest request;
    request.set_user_id(argv[1]);
    request.set_page_size(page_size);
    return recommender->Recommend(&context, request, answer);
  };

  ranker::RecommendResponse answer;
  auto status = recommend(5, &answer);
  if (!status.ok()) return explain(status), 0;
  for (const auto& found : answer.recommendations()) {
    std::printf("item: %s %.2f\n", found.item_id().c_str(), found.score());
  }
  std::cout << "degradations:";
  for (const int each : answer.degradations()) {
    std::cout << " " << ranker::Degradation_Name(each);
  }

  // The token says which list led to the click. A retry must send this same message: the id and the time make it a
  // duplicate. A real program takes a fresh id for each event; this one clicks once for each list.
  session::RecordEventsRequest request;
  common::Event& click = *request.add_events();
  click.set_event_id(answer.recommendation_id());
  click.set_user_id(argv[1]);
  click.set_item_id(answer.recommendations(0).item_id());
  click.set_action(common::ACTION_CLICK);
  *click.mutable_time() = google::protobuf::util::TimeUtil::GetCurrentTime();
  click.set_attribution_token(answer.attribution_token());
  session::RecordEventsResponse recorded;
  grpc::ClientContext context;
  status = recorder->RecordEvents(&context, request, &recorded);
  if (!status.ok()) return explain(status), 0;
  const auto& result = recorded.results(0);
  std::cout << "\nrecorded: " << common::EventStatus_Name(result.status()) << " " << result.reason()
            << "\n";

  explain(recommend(0, &answer));
}
