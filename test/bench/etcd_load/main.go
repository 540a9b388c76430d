// Load for etcd through its own client library: CLIENTS connections, each with one request in
// flight, keys drawn from 10,000. Prints requests per second, p50 and p99 in milliseconds.
//
//	etcd_load HOST:PORT,... put|get CLIENTS REQUESTS VALUE_SIZE
package main

import (
	"context"
	"fmt"
	"log"
	"math/rand"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/clientv3"
)

const keySpace = 10000

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func connect(endpoints []string) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: 5 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	// The first request makes the connection; it is not measured.
	if _, err := client.Get(context.Background(), "none"); err != nil {
		log.Fatal(err)
	}
	return client
}

func request(client *clientv3.Client, kind, value string) error {
	key := fmt.Sprintf("key-%012d", rand.Intn(keySpace))
	if kind == "put" {
		_, err := client.Put(context.Background(), key, value)
		return err
	}
	_, err := client.Get(context.Background(), key)
	return err
}

func main() {
	if len(os.Args) != 6 {
		log.Fatal("usage: etcd_load HOST:PORT,... put|get CLIENTS REQUESTS VALUE_SIZE")
	}
	endpoints, kind := strings.Split(os.Args[1], ","), os.Args[2]
	clients := make([]*clientv3.Client, number(os.Args[3]))
	each := number(os.Args[4]) / len(clients)
	value := strings.Repeat("v", number(os.Args[5]))
	for i := range clients {
		clients[i] = connect(endpoints)
	}
	times := make([]float64, len(clients)*each)
	var group sync.WaitGroup
	start := time.Now()
	for i, client := range clients {
		group.Add(1)
		go func(client *clientv3.Client, times []float64) {
			defer group.Done()
			for i := range times {
				before := time.Now()
				if err := request(client, kind, value); err != nil {
					log.Fatal(err)
				}
				times[i] = time.Since(before).Seconds() * 1000
			}
		}(client, times[i*each:(i+1)*each])
	}
	group.Wait()
	seconds := time.Since(start).Seconds()
	sort.Float64s(times)
	fmt.Printf("%.0f %.3f %.3f\n", float64(len(times))/seconds, times[len(times)/2],
		times[len(times)*99/100])
}
