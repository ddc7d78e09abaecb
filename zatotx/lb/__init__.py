"""The load balancer: distributes HTTP requests and TCP connections to servers. No other component imports this
package."""
