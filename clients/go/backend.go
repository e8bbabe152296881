// Shows a list, records a click on it, and reads an error: backend USER RANKER SESSION SERVICE_CONFIG
// [AUTHORITIES TOKEN].
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	commonv1 "example.com/your-team/your-backend/gen/go/groundswell/common/v1"
	rankerv1 "example.com/your-team/your-backend/gen/go/groundswell/ranker/v1"
	sessionv1 "example.com/your-team/your-backend/gen/go/groundswell/session/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func run(user, ranker, session, serviceConfig string, security []grpc.DialOption) error {
	// The service config has the retries. A channel is made once, and kept.
	dial := func(address string) *grpc.ClientConn {
		channel, err := grpc.Dial(address, append(security, grpc.WithDefaultServiceConfig(serviceConfig))...)
		if err != nil {
			log.Fatal(err)
		}
		return channel
	}
	recommender := rankerv1.NewRankerServiceClient(dial(ranker))
	recorder := sessionv1.NewSessionServiceClient(dial(session))

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request := &rankerv1.RecommendRequest{
		Subject: &rankerv1.RecommendRequest_UserId{UserId: user}, PageSize: proto.Int32(5)}
	answer, err := recommender.Recommend(ctx, request)
	if err != nil {
		return err
	}
	for _, found := range answer.Recommendations {
		fmt.Printf("item: %s %.2f\n", found.ItemId, found.Score)
	}
	fmt.Println(strings.TrimSpace(fmt.Sprintln("degradations:", strings.Trim(fmt.Sprint(answer.Degradations), "[]"))))

	// The token says which list led to the click. The id makes a retry a duplicate.
	recorded, err := recorder.RecordEvents(ctx, &sessionv1.RecordEventsRequest{Events: []*commonv1.Event{{
		EventId: strconv.FormatInt(time.Now().UnixNano(), 36), UserId: user,
		ItemId: answer.Recommendations[0].ItemId, Action: commonv1.Action_ACTION_CLICK,
		Time: timestamppb.Now(), AttributionToken: answer.AttributionToken}}})
	if err != nil {
		return err
	}
	fmt.Println("recorded:", recorded.Results[0].Status, recorded.Results[0].Reason)

	request.PageSize = proto.Int32(0)
	_, err = recommender.Recommend(ctx, request)
	return err
}

// A token that every call carries, over TLS alone.
type bearer string

func (token bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

func secured(authorities, token string) []grpc.DialOption {
	tls, err := credentials.NewClientTLSFromFile(authorities, "")
	if err != nil {
		log.Fatal(err)
	}
	return []grpc.DialOption{grpc.WithTransportCredentials(tls), grpc.WithPerRPCCredentials(bearer(token))}
}

func main() {
	serviceConfig, err := os.ReadFile(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	security := []grpc.DialOption{grpc.WithInsecure()} // of this machine alone
	if len(os.Args) > 6 {
		security = secured(os.Args[5], os.Args[6])
	}
	its := status.Convert(run(os.Args[1], os.Args[2], os.Args[3], string(serviceConfig), security))
	var reason string
	var fields []string
	var retryAfter time.Duration
	for _, detail := range its.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			reason = detail.Reason
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				fields = append(fields, violation.Field)
			}
		case *errdetails.RetryInfo:
			retryAfter = detail.RetryDelay.AsDuration()
		}
	}
	fmt.Printf("error: %s %s %s %gs\n", its.Code(), reason, strings.Join(fields, ","), retryAfter.Seconds())
}
