import com.google.gson.Gson;
import com.google.protobuf.Any;
import com.google.protobuf.util.Durations;
import com.google.protobuf.util.Timestamps;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import io.groundswell.common.v1.Action;
import io.groundswell.common.v1.Event;
import io.groundswell.common.v1.EventResult;
import io.groundswell.ranker.v1.RankerServiceGrpc;
import io.groundswell.ranker.v1.RecommendRequest;
import io.groundswell.ranker.v1.RecommendResponse;
import io.groundswell.session.v1.RecordEventsRequest;
import io.groundswell.session.v1.SessionServiceGrpc;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/** Shows a list, records a click on it, and reads an error: Backend USER RANKER SESSION SERVICE_CONFIG [AUTHORITIES TOKEN]. */
public final class Backend {
  public static void main(String[] args) throws Exception {
    // The retries and the deadlines. A channel is made once, and kept.
    Map<String, ?> config = new Gson().fromJson(Files.readString(Path.of(args[3])), Map.class);
    ManagedChannel ranker = open(args, 1, config);
    ManagedChannel session = open(args, 2, config);
    try {
      var recommender = RankerServiceGrpc.newBlockingStub(ranker);
      var request = RecommendRequest.newBuilder().setUserId(args[0]).setPageSize(5).build();
      RecommendResponse answer =
          recommender.withDeadlineAfter(10, TimeUnit.SECONDS).recommend(request);
      answer.getRecommendationsList().forEach(
          found -> System.out.printf("item: %s %.2f%n", found.getItemId(), found.getScore()));
      System.out.println(("degradations: " + answer.getDegradationsList().stream()
          .map(Enum::name).collect(Collectors.joining(" "))).strip());

      // The token says which list led to the click. The id makes a retry a duplicate.
      Event click = Event.newBuilder()
          .setEventId(UUID.randomUUID().toString()).setUserId(args[0])
          .setItemId(answer.getRecommendations(0).getItemId()).setAction(Action.ACTION_CLICK)
          .setTime(Timestamps.fromMillis(System.currentTimeMillis()))
          .setAttributionToken(answer.getAttributionToken()).build();
      EventResult result = SessionServiceGrpc.newBlockingStub(session)
          .withDeadlineAfter(5, TimeUnit.SECONDS)
          .recordEvents(RecordEventsRequest.newBuilder().addEvents(click).build()).getResults(0);
      System.out.println("recorded: " + result.getStatus() + " " + result.getReason());

      recommender.recommend(request.toBuilder().setPageSize(0).build());
    } catch (StatusRuntimeException error) {
      explain(error);
    } finally {
      ranker.shutdownNow();
      session.shutdownNow();
    }
  }

  private static ManagedChannel open(String[] args, int place, Map<String, ?> config)
      throws Exception {
    var builder = args.length > 5
        ? secured(args[place], new File(args[4]), args[5])
        : ManagedChannelBuilder.forTarget(args[place]).usePlaintext();  // of this machine alone
    return builder.enableRetry().defaultServiceConfig(config).build();
  }

  private static ManagedChannelBuilder<?> secured(String address, File authorities, String token)
      throws Exception {
    Metadata headers = new Metadata();
    headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
    var tls = TlsChannelCredentials.newBuilder().trustManager(authorities).build();
    return Grpc.newChannelBuilder(address, tls)
        .intercept(MetadataUtils.newAttachHeadersInterceptor(headers));
  }

  private static void explain(StatusRuntimeException error) throws Exception {
    String reason = "";
    String fields = "";
    double retryAfter = 0;
    for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        reason = detail.unpack(ErrorInfo.class).getReason();
      } else if (detail.is(BadRequest.class)) {
        fields = detail.unpack(BadRequest.class).getFieldViolationsList().stream()
            .map(BadRequest.FieldViolation::getField).collect(Collectors.joining(","));
      } else if (detail.is(RetryInfo.class)) {
        retryAfter = Durations.toMillis(detail.unpack(RetryInfo.class).getRetryDelay()) / 1000.0;
      }
    }
    System.out.printf("error: %s %s %s %ss%n", error.getStatus().getCode(), reason, fields, retryAfter);
  }
}
