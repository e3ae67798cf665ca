// A stand-in for libcuda that keeps contexts, streams, memory and graphs honestly, and computes nothing.
// Streams work on threads of their own. What is used wrongly is counted in `bad` and said on stderr.
// Its types are those of the CUDA driver API; cuda.h is not needed.
typedef int CUresult;
typedef int CUdevice;
typedef int CUdevice_attribute;
typedef int CUstreamCaptureMode;
typedef unsigned long long CUdeviceptr;
typedef void *CUcontext, *CUstream, *CUgraph, *CUgraphExec;
enum { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1, CUDA_ERROR_INVALID_DEVICE = 101,
       CUDA_ERROR_INVALID_CONTEXT = 201, CUDA_ERROR_INVALID_HANDLE = 400,
       CUDA_ERROR_ILLEGAL_ADDRESS = 700, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900 };
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <vector>
#include <functional>
#include <mutex>
#include <thread>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <atomic>
static bool verbose(){ static int v=-1; if(v<0) v=getenv("FAKE_VERBOSE")?1:0; return v; }
#define LOG(...) do{ if(verbose()){fprintf(stderr,"[fake] " __VA_ARGS__); fprintf(stderr,"\n");} }while(0)
struct Ctx{int id;};
static Ctx primary{1}; static int refs=0; static bool active=false;
static thread_local std::vector<Ctx*> stack;
static std::map<CUdeviceptr,size_t> mem; static std::map<void*,size_t> host;
struct Stream{ std::deque<std::function<void()>> q; bool capturing=false; std::vector<std::function<void()>> cap; std::mutex m; std::condition_variable cv; std::thread t; bool stop=false, busy=false; };
static std::set<Stream*> streams;
struct Graph{ std::vector<std::function<void()>> work; };
static std::set<Graph*> graphs, execs;
struct Event{ std::atomic<bool> recorded{false}, set{false}; std::chrono::steady_clock::time_point at; Stream*stream=nullptr; };
static std::set<Event*> events;
static std::atomic<int> bad{0};
static int delay_us(){ static int v=-1; if(v<0) v=getenv("FAKE_DELAY_US")?atoi(getenv("FAKE_DELAY_US")):0; return v; }
#define NEEDCTX(n) do{ if(stack.empty()||!active){ fprintf(stderr,"[fake] ERROR %s without a current live context (depth %zu active %d)\n",n,stack.size(),active); bad++; return CUDA_ERROR_INVALID_CONTEXT; } }while(0)
static bool sticky=false;
extern "C" {
void fake_stick(int on){ sticky=on; }
void fake_report(){ fprintf(stderr,"[fake] report: refs=%d active=%d depth=%zu mem=%zu host=%zu streams=%zu graphs=%zu execs=%zu bad=%d\n",refs,active,stack.size(),mem.size(),host.size(),streams.size(),graphs.size(),execs.size(),bad.load()); }
int fake_depth(){return (int)stack.size();} int fake_refs(){return refs;} int fake_bad(){return bad;} 
int fake_left(){return (int)(mem.size()+host.size()+streams.size()+graphs.size()+execs.size()+events.size());}
CUresult cuInit(unsigned){return CUDA_SUCCESS;}
CUresult cuDriverGetVersion(int*v){*v=13000;return CUDA_SUCCESS;}
CUresult cuDeviceGetCount(int*c){*c=1;return CUDA_SUCCESS;}
CUresult cuDeviceGet(CUdevice*d,int i){ if(i>0) return CUDA_ERROR_INVALID_DEVICE; *d=i;return CUDA_SUCCESS;}
CUresult cuDeviceGetPCIBusId(char*s,int l,CUdevice d){snprintf(s,l,"0000:%02X:00.0",0x3b+d);return CUDA_SUCCESS;}
CUresult cuDeviceGetName(char*n,int l,CUdevice){snprintf(n,l,"NVIDIA L4");return CUDA_SUCCESS;}
CUresult cuDeviceGetAttribute(int*v,CUdevice_attribute a,CUdevice){*v= a==75?8: a==76?9:0;return CUDA_SUCCESS;}
CUresult cuDeviceTotalMem_v2(size_t*b,CUdevice){*b=24ull<<30;return CUDA_SUCCESS;}
CUresult cuGetErrorName(CUresult r,const char**s){*s= r==700?"CUDA_ERROR_ILLEGAL_ADDRESS": r==101?"CUDA_ERROR_INVALID_DEVICE": "CUDA_ERROR_OTHER";return CUDA_SUCCESS;}
CUresult cuGetErrorString(CUresult r,const char**s){*s= r==700?"an illegal memory access was encountered":"a fake error";return CUDA_SUCCESS;}
CUresult cuDevicePrimaryCtxRetain(CUcontext*c,CUdevice){refs++;active=true;*c=(CUcontext)&primary;LOG("retain refs=%d",refs);return CUDA_SUCCESS;}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice){ if(!refs) return CUDA_ERROR_INVALID_CONTEXT; refs--; if(!refs) active=false; LOG("release refs=%d",refs);return CUDA_SUCCESS;}
CUresult cuCtxPushCurrent_v2(CUcontext c){stack.push_back((Ctx*)c);LOG("push depth=%zu",stack.size());return CUDA_SUCCESS;}
CUresult cuCtxPopCurrent_v2(CUcontext*c){ if(stack.empty()){fprintf(stderr,"[fake] ERROR pop of an empty stack\n");bad++;return CUDA_ERROR_INVALID_CONTEXT;} if(c)*c=(CUcontext)stack.back();stack.pop_back();LOG("pop depth=%zu",stack.size());return CUDA_SUCCESS;}
CUresult cuCtxGetCurrent(CUcontext*c){*c=stack.empty()?nullptr:(CUcontext)stack.back();return CUDA_SUCCESS;}
CUresult cuCtxSetCurrent(CUcontext c){ if(stack.empty()) stack.push_back((Ctx*)c); else stack.back()=(Ctx*)c; return CUDA_SUCCESS;}
CUresult cuMemAlloc_v2(CUdeviceptr*p,size_t n){NEEDCTX("cuMemAlloc"); void*q=aligned_alloc(512,(n+511)/512*512); memset(q,0xAB,n); *p=(CUdeviceptr)q; mem[*p]=n; LOG("alloc %zu",n); return CUDA_SUCCESS;}
CUresult cuMemFree_v2(CUdeviceptr p){ if(sticky) return CUDA_ERROR_ILLEGAL_ADDRESS; NEEDCTX("cuMemFree"); if(!mem.erase(p)){fprintf(stderr,"[fake] ERROR free of unknown\n");bad++;} free((void*)p); return CUDA_SUCCESS;}
CUresult cuMemHostAlloc(void**p,size_t n,unsigned){NEEDCTX("cuMemHostAlloc"); *p=aligned_alloc(4096,(n+4095)/4096*4096); memset(*p,0xCD,n); host[*p]=n; return CUDA_SUCCESS;}
CUresult cuMemFreeHost(void*p){ if(sticky) return CUDA_ERROR_ILLEGAL_ADDRESS; NEEDCTX("cuMemFreeHost"); if(!host.erase(p)){fprintf(stderr,"[fake] ERROR host free\n");bad++;} memset(p,0xEE,1); free(p); return CUDA_SUCCESS;}
static void worker(Stream*s){ for(;;){ std::function<void()> w; { std::unique_lock<std::mutex> l(s->m); s->cv.wait(l,[&]{return s->stop||!s->q.empty();}); if(s->q.empty()&&s->stop) return; w=s->q.front(); s->q.pop_front(); s->busy=true; } if(delay_us()) std::this_thread::sleep_for(std::chrono::microseconds(delay_us())); w(); { std::lock_guard<std::mutex> l(s->m); s->busy=false; } s->cv.notify_all(); } }
CUresult cuStreamCreate(CUstream*p,unsigned f){NEEDCTX("cuStreamCreate"); if(f!=1){fprintf(stderr,"[fake] stream flags %u\n",f);} auto s=new Stream; s->t=std::thread(worker,s); streams.insert(s); *p=(CUstream)s; return CUDA_SUCCESS;}
CUresult cuStreamDestroy_v2(CUstream p){ auto s=(Stream*)p; NEEDCTX("cuStreamDestroy"); if(!streams.erase(s)){bad++;return CUDA_ERROR_INVALID_HANDLE;} { std::lock_guard<std::mutex> l(s->m); s->stop=true; } s->cv.notify_all(); s->t.join(); delete s; return CUDA_SUCCESS;}
static void add(Stream*s,std::function<void()> w){ std::lock_guard<std::mutex> l(s->m); if(s->capturing) s->cap.push_back(w); else s->q.push_back(w); s->cv.notify_all(); }
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr d,const void*h,size_t n,CUstream p){ if(sticky) return CUDA_ERROR_ILLEGAL_ADDRESS; NEEDCTX("HtoD"); auto it=mem.find(d); if(it==mem.end()||n>it->second){fprintf(stderr,"[fake] ERROR HtoD %zu beyond allocation\n",n);bad++;} add((Stream*)p,[=]{memcpy((void*)d,h,n);}); return CUDA_SUCCESS;}
CUresult cuMemcpyDtoHAsync_v2(void*h,CUdeviceptr d,size_t n,CUstream p){ if(sticky) return CUDA_ERROR_ILLEGAL_ADDRESS; NEEDCTX("DtoH"); add((Stream*)p,[=]{memcpy(h,(void*)d,n);}); return CUDA_SUCCESS;}
CUresult cuStreamSynchronize(CUstream p){ if(sticky) return CUDA_ERROR_ILLEGAL_ADDRESS; NEEDCTX("sync"); auto s=(Stream*)p; if(s->capturing){fprintf(stderr,"[fake] ERROR sync while capturing\n");bad++;return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;} std::unique_lock<std::mutex> l(s->m); s->cv.wait(l,[&]{return s->q.empty()&&!s->busy;}); return CUDA_SUCCESS;}
CUresult cuStreamBeginCapture_v2(CUstream p,CUstreamCaptureMode m){ NEEDCTX("begin"); auto s=(Stream*)p; if(!streams.count(s)){fprintf(stderr,"[fake] ERROR begin capture of unknown stream %p\n",p);bad++;return CUDA_ERROR_INVALID_HANDLE;} if((int)m!=1) fprintf(stderr,"mode %d\n",(int)m); s->capturing=true; s->cap.clear(); return CUDA_SUCCESS;}
CUresult cuStreamEndCapture(CUstream p,CUgraph*g){ NEEDCTX("end"); auto s=(Stream*)p; s->capturing=false; auto G=new Graph{s->cap}; graphs.insert(G); *g=(CUgraph)G; return CUDA_SUCCESS;}
CUresult cuGraphInstantiateWithFlags(CUgraphExec*e,CUgraph g,unsigned long long f){ auto G=(Graph*)g; if(!graphs.count(G)||f){fprintf(stderr,"[fake] ERROR instantiate %p flags %llu\n",g,f);bad++;return CUDA_ERROR_INVALID_VALUE;} auto E=new Graph{G->work}; execs.insert(E); *e=(CUgraphExec)E; LOG("instantiated %zu nodes",E->work.size()); return CUDA_SUCCESS;}
CUresult cuGraphDestroy(CUgraph g){ if(!graphs.erase((Graph*)g)){bad++;fprintf(stderr,"[fake] ERROR graph destroy\n");} delete (Graph*)g; return CUDA_SUCCESS;}
CUresult cuGraphExecDestroy(CUgraphExec g){ if(!execs.erase((Graph*)g)){bad++;fprintf(stderr,"[fake] ERROR exec destroy\n");} delete (Graph*)g; return CUDA_SUCCESS;}
CUresult cuGraphLaunch(CUgraphExec e,CUstream p){ if(sticky) return CUDA_ERROR_ILLEGAL_ADDRESS; NEEDCTX("launch"); auto E=(Graph*)e; if(!execs.count(E)||!streams.count((Stream*)p)){fprintf(stderr,"[fake] ERROR launch\n");bad++;return CUDA_ERROR_INVALID_HANDLE;} for(auto&w:E->work) add((Stream*)p,w); return CUDA_SUCCESS;}
CUresult cuEventCreate(void**p,unsigned){ NEEDCTX("cuEventCreate"); auto e=new Event; events.insert(e); *p=e; return CUDA_SUCCESS; }
CUresult cuEventDestroy_v2(void*p){ NEEDCTX("cuEventDestroy"); auto e=(Event*)p; if(!events.erase(e)){fprintf(stderr,"[fake] ERROR event destroy\n");bad++;return CUDA_ERROR_INVALID_HANDLE;} delete e; return CUDA_SUCCESS; }
CUresult cuEventRecord(void*p,CUstream s){ if(sticky) return CUDA_ERROR_ILLEGAL_ADDRESS; NEEDCTX("cuEventRecord"); auto e=(Event*)p; if(!events.count(e)||((Stream*)s)->capturing){fprintf(stderr,"[fake] ERROR event record\n");bad++;return CUDA_ERROR_INVALID_HANDLE;} e->set=false; e->recorded=true; e->stream=(Stream*)s; add((Stream*)s,[=]{ e->at=std::chrono::steady_clock::now(); e->set=true; }); return CUDA_SUCCESS; }
CUresult cuEventSynchronize(void*p){ NEEDCTX("cuEventSynchronize"); auto e=(Event*)p; if(!events.count(e)) return CUDA_ERROR_INVALID_HANDLE; return e->recorded?cuStreamSynchronize((CUstream)e->stream):CUDA_SUCCESS; }
CUresult cuEventElapsedTime(float*ms,void*a,void*b){ auto A=(Event*)a; auto B=(Event*)b; if(!events.count(A)||!events.count(B)||!A->recorded||!B->recorded) return CUDA_ERROR_INVALID_HANDLE; if(!A->set||!B->set) return 600; *ms=std::chrono::duration<float,std::milli>(B->at-A->at).count(); return CUDA_SUCCESS; }
CUresult cuEventElapsedTime_v2(float*ms,void*a,void*b){ return cuEventElapsedTime(ms,a,b); }
// what an engine would enqueue: a function pointer from Python is not called from the worker; copy of the first values instead
CUresult fake_kernel(CUstream p,CUdeviceptr in,CUdeviceptr out,int batch,int in_stride,int dim){ NEEDCTX("kernel"); add((Stream*)p,[=]{ for(int b=0;b<batch;b++) for(int i=0;i<dim;i++) ((float*)out)[(size_t)b*dim+i]=((unsigned char*)in)[(size_t)b*in_stride+i]; }); return CUDA_SUCCESS; }
}
