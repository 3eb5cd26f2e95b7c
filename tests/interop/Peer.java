import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/**
 * TLS by the library of Java: a client or a server that says what it saw.
 *
 * <p>client PORT CA VERSION, or server PORT CERTIFICATE KEY VERSION. The client connects twice, the
 * second time with the session of the first. It sends the pattern, says close_notify, and reads to
 * the end: what it sent, and the server's last words behind that. The server echoes to the end of
 * what it hears, says its last words, and ends.
 */
public final class Peer {
    private static final int SENT_BYTES = 3_000_000;
    /**
     * Both speak in turns, and nothing is said behind an end. This library says KeyUpdate for each
     * record that it reads of an old key, which looks like a flood where it says nothing else, and
     * fails where one is due when one direction has ended ("Socket has been closed or broken").
     */
    private static final boolean IN_TURNS = Boolean.getBoolean("peer.turns");
    private static final int LAST_BYTES = IN_TURNS ? 0 : 1_000_000;
    /**
     * The last turn is a byte: where a key got old in the turn before, its records have the new one,
     * and so has the end behind them.
     */
    private static final int TURN_BYTES = 120_000;
    private static final String NAME = "db.example.com";
    private static final int PATIENCE_MS = 60_000;
    private static final char[] NO_PASSWORD = {};

    /** The pattern from a place on. */
    private static byte[] pattern(int from, int bytes) {
        byte[] piece = new byte[bytes];
        for (int nth = 0; nth < bytes; nth++) {
            piece[nth] = at(from + nth);
        }
        return piece;
    }

    private static byte at(int place) {
        return (byte) (place ^ place >> 8 ^ place >> 16);
    }

    private static List<? extends Certificate> certificates(String path) throws Exception {
        try (InputStream file = new FileInputStream(path)) {
            return List.copyOf(CertificateFactory.getInstance("X.509").generateCertificates(file));
        }
    }

    private static PrivateKey key(String path) throws Exception {
        String text = Files.readString(Path.of(path)).replaceAll("-----[A-Z ]+-----", "");
        byte[] der = Base64.getMimeDecoder().decode(text);
        return KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(der));
    }

    private static KeyStore store() throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, NO_PASSWORD);
        return store;
    }

    /** Sends the pattern, in odd sizes: no record ends where a piece does. */
    private static void send(SSLSocket socket) {
        try {
            OutputStream output = socket.getOutputStream();
            int place = 0;
            while (place < SENT_BYTES) {
                int bytes = Math.min(1 + place % 40_009, SENT_BYTES - place);
                output.write(pattern(place, bytes));
                place += bytes;
            }
            socket.shutdownOutput();
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    /** Sends the pattern, and hears each piece of it before the next. */
    private static int talk(SSLSocket socket) throws IOException {
        int place = 0;
        while (place < SENT_BYTES) {
            int bytes = Math.max(1, Math.min(SENT_BYTES - 1 - place, TURN_BYTES));
            byte[] piece = pattern(place, bytes);
            socket.getOutputStream().write(piece);
            if (!Arrays.equals(socket.getInputStream().readNBytes(bytes), piece)) {
                throw new IOException("not the pattern, from byte " + place);
            }
            place += bytes;
        }
        socket.shutdownOutput();
        return readAll(socket.getInputStream(), SENT_BYTES);
    }

    /** Reads to close_notify, and compares with the pattern. */
    private static int readAll(InputStream input, int from) throws IOException {
        byte[] piece = new byte[65_536];
        int place = from;
        int count;
        while ((count = input.read(piece)) >= 0) {
            for (int nth = 0; nth < count; nth++) {
                if (piece[nth] != at(place)) {
                    throw new IOException("byte " + place + " is not the pattern's");
                }
                place++;
            }
        }
        return place;
    }

    private static void say(SSLSocket socket, int bytes) {
        System.out.println(socket.getSession().getProtocol() + " bytes " + bytes);
    }

    private static void client(String[] words) throws Exception {
        KeyStore trusted = store();
        for (Certificate certificate : certificates(words[2])) {
            trusted.setCertificateEntry("ca", certificate);
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        for (int turn = 0; turn < 2; turn++) {
            connect(context, Integer.parseInt(words[1]), words[3]);
        }
    }

    private static void connect(SSLContext context, int port, String version) throws Exception {
        try (SSLSocket socket =
                (SSLSocket) context.getSocketFactory().createSocket("127.0.0.1", port)) {
            socket.setSoTimeout(PATIENCE_MS);
            SSLParameters wish = socket.getSSLParameters();
            wish.setProtocols(new String[] {"TLSv" + version});
            wish.setServerNames(List.of(new SNIHostName(NAME)));
            socket.setSSLParameters(wish);
            socket.startHandshake();
            if (IN_TURNS) {
                say(socket, talk(socket));
                return;
            }
            CompletableFuture<Void> sending = CompletableFuture.runAsync(() -> send(socket));
            int bytes = readAll(socket.getInputStream(), 0);
            sending.join();
            say(socket, bytes);
        }
    }

    private static void serve(SSLSocket socket) {
        try (socket) {
            socket.setSoTimeout(PATIENCE_MS);
            InputStream input = socket.getInputStream();
            OutputStream output = socket.getOutputStream();
            byte[] piece = new byte[30_001];
            int place = 0;
            int count;
            while ((count = input.read(piece)) >= 0) {
                output.write(piece, 0, count);
                place += count;
            }
            if (LAST_BYTES > 0) {
                output.write(pattern(place, LAST_BYTES));
            }
            say(socket, place);
            socket.shutdownOutput();
        } catch (IOException error) {
            System.err.println(error);
        }
    }

    private static void server(String[] words) throws Exception {
        KeyStore own = store();
        Certificate[] chain = certificates(words[2]).toArray(Certificate[]::new);
        own.setKeyEntry("own", key(words[3]), NO_PASSWORD, chain);
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(own, NO_PASSWORD);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        SSLServerSocket passive = (SSLServerSocket) context.getServerSocketFactory()
                .createServerSocket(Integer.parseInt(words[1]));
        passive.setEnabledProtocols(new String[] {"TLSv" + words[4]});
        System.out.println("ready");
        while (true) {
            SSLSocket socket = (SSLSocket) passive.accept();
            new Thread(() -> serve(socket)).start();
        }
    }

    /** What its first word says. */
    public static void main(String[] words) throws Exception {
        if (words[0].equals("client")) {
            client(words);
        } else {
            server(words);
        }
        System.exit(0);
    }
}
